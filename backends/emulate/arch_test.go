package emulate

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPrograms reads the programs with Go's reader, and runs each by its
// emulator, with no handler: they do what the trial relies on.
func TestPrograms(t *testing.T) {
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "386": elf.EM_386, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64,
		"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "mips64le": elf.EM_MIPS}
	for _, a := range Archs() {
		t.Run(a.Name, func(t *testing.T) {
			f, err := elf.NewFile(bytes.NewReader(a.program()))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != want[a.Name] || len(f.Progs) != 1 || f.Progs[0].Type != elf.PT_LOAD || f.Entry-f.Progs[0].Vaddr != uint64(len(a.program())-len(a.exit)) {
				t.Fatalf("%v %+v", f.FileHeader, f.Progs[0])
			}
			emulator := "qemu-" + a.CPU + "-static"
			if _, err := exec.LookPath(emulator); err != nil {
				t.Skipf("%s is not installed", emulator)
			}
			file := filepath.Join(t.TempDir(), "p")
			os.WriteFile(file, a.program(), 0o755)
			cmd := exec.Command(emulator, "-0", "\x05", file, "x", "y")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != 5+3 {
				t.Errorf("exit code %d, want %d: %s", code, 5+3, out)
			}
		})
	}
}

func TestTrialNative(t *testing.T) {
	a, ok := Lookup(runtime.GOARCH)
	if !ok {
		t.Fatal(runtime.GOARCH)
	}
	for _, alone := range []bool{false, true} {
		if alone && os.Geteuid() != 0 {
			t.Skip("needs root: chroot")
		}
		if v, err := trial(a, t.TempDir(), alone); v != keeps || err != nil {
			t.Errorf("alone %v: %v %v", alone, v, err)
		}
	}
}

// TestHiddenDirectory: a directory of another user in PATH, as su leaves it, is
// not worth a word.
func TestHiddenDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	told := make(chan error)
	go func() {
		// The thread ends with its rights.
		runtime.LockOSThread()
		if os.Getuid() == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0)
		}
		if _, err := os.Stat(dir + "/x"); !errors.Is(err, os.ErrPermission) {
			told <- fmt.Errorf("the directory is not hidden: %v", err)
			return
		}
		_, err := Emulator(Arch{CPU: "nonesuch"})
		told <- err
	}()
	if err := <-told; err == nil || err.Error() != "no qemu-nonesuch-static is installed" {
		t.Error(err)
	}
}
