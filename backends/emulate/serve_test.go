package emulate

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// private tells a test that it runs in a user namespace with a binfmt_misc of
// its own, so that it leaves the machine's alone.
const private = "EMULATE_TEST_PRIVATE"

// inPrivate runs the calling test again in such a namespace; it returns true
// there.
func inPrivate(t *testing.T) bool {
	t.Helper()
	if os.Getenv(private) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("test", Dir, "binfmt_misc", 0, ""); errors.Is(err, unix.EPERM) {
			t.Skip("missing kernel feature: binfmt_misc in user namespaces (6.7)")
		} else if err != nil {
			t.Fatal(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EACCES):
		t.Skip("missing kernel feature: user namespaces")
	case strings.Contains(string(out), "--- SKIP"):
		t.Skip("missing kernel feature: binfmt_misc in user namespaces (6.7)")
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func needs(t *testing.T, arch string) Arch {
	t.Helper()
	a, ok := Lookup(arch)
	if !ok {
		t.Fatalf("no architecture %s", arch)
	}
	if _, err := Emulator(a); err != nil {
		t.Skipf("missing program: %v", err)
	}
	return a
}

// foreign are the architectures that this machine does not run by itself.
func foreign(t *testing.T) []Arch {
	var out []Arch
	for _, a := range Archs() {
		if !a.mayBeNative() {
			needs(t, a.Name)
			out = append(out, a)
		}
	}
	return out
}

func TestRegister(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	m := Machine{Scratch: t.TempDir(), Root: true}
	for _, a := range foreign(t) {
		if w := m.Look(a); w.How != Register {
			t.Errorf("%s before: %+v", a.Name, w)
		}
		w, err := m.Serve(a)
		if err != nil || w.How != Registered || w.Handler != "coracle-"+a.Name || !strings.Contains(w.Flags, "F") || !strings.Contains(w.Flags, "C") {
			t.Fatalf("%s: %+v %v", a.Name, w, err)
		}
		if v, err := trial(a, m.Scratch, true); v == fails || (v == keeps) != strings.Contains(w.Flags, "P") {
			t.Errorf("%s with %s: %v %v", a.Name, w.Flags, v, err)
		}
		if mounts, err := w.Mounts(); err != nil || len(mounts) != 0 {
			t.Errorf("%s: mounts %v %v", a.Name, mounts, err)
		}
		if w, err := m.Serve(a); err != nil || w.How != Binfmt || w.Handler != "coracle-"+a.Name {
			t.Errorf("%s again: %+v %v", a.Name, w, err)
		}
	}
	for _, a := range foreign(t) {
		if err := Remove(Dir, a.Name); err != nil {
			t.Error(err)
		}
		if err := Remove(Dir, a.Name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("removed twice: %v", err)
		}
	}
	if t2, _ := Read(Dir); !t2.Mounted || len(t2.Handlers) != 0 {
		t.Errorf("what others have mounted is left: %+v", t2)
	}
}

// TestMounts: binfmt_misc that nobody has mounted.
func TestMounts(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	if err := unix.Unmount(Dir, 0); err != nil {
		t.Fatal(err)
	}
	// The machine's own may be mounted below the one that we have unmounted.
	dir := t.TempDir()
	a := foreign(t)[0]
	m := Machine{Dir: dir, Scratch: t.TempDir(), Root: true}
	if w, err := m.Serve(a); err != nil || w.How != Registered {
		t.Fatalf("%+v %v", w, err)
	}
	if !mountedByUs(dir) {
		t.Error("not mounted, or not as ours")
	}
	if err := Remove(dir, a.Name); err != nil {
		t.Fatal(err)
	}
	if tab, _ := Read(dir); tab.Mounted {
		t.Error("still mounted after the last handler was removed")
	}
}

// TestAtOnce: many that need a handler at once make one, on one mount.
func TestAtOnce(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	if err := unix.Unmount(Dir, 0); err != nil {
		t.Fatal(err)
	}
	dir, scratch := t.TempDir(), t.TempDir()
	all := foreign(t)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			if _, err := (Machine{Dir: dir, Scratch: scratch, Root: true}).Serve(all[i%len(all)]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range all {
		if err := Remove(dir, a.Name); err != nil {
			t.Error(err)
		}
	}
	if tab, _ := Read(dir); tab.Mounted {
		t.Error("mounted more than once")
	}
}

// TestInRoot: a handler without F needs the emulator in the root filesystem.
func TestInRoot(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	a := foreign(t)[0]
	emulator, _ := Emulator(a)
	line, err := Line("other", a, emulator, "OC")
	if err == nil {
		err = register(Dir, line)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Scratch: t.TempDir(), Root: true}
	w, err := m.Serve(a)
	if err != nil || w.How != Binfmt || w.Handler != "other" {
		t.Fatalf("%+v %v", w, err)
	}
	mounts, err := w.Mounts()
	if err != nil || len(mounts) != 1 || mounts[0].Destination != emulator || mounts[0].Source != emulator || !strings.Contains(strings.Join(mounts[0].Options, ","), "ro") {
		t.Errorf("%+v %v", mounts, err)
	}
	if v, _ := trial(a, m.Scratch, true); v != fails {
		t.Error("it runs with no emulator in its root: then the mount is for nothing")
	}
}

// TestBroken: handlers that do not work are told, and ours goes before them.
func TestBroken(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	a := foreign(t)[0]
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755)
	wrong := filepath.Join(dir, "no-emulator") // a static program, but no emulator
	native, _ := Lookup(runtime.GOARCH)
	if err := os.WriteFile(wrong, native.program(), 0o755); err != nil {
		t.Fatal(err)
	}
	m := Machine{Scratch: dir, Root: true}
	for _, c := range []struct{ name, interpreter, flags, want string }{
		{"gone", "/no/such/emulator", "OC", "no such file"},
		{"script", script, "OC", "no ELF program"},
		{"wrong", wrong, "F", "does not run a program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, err := Line(c.name, a, c.interpreter, c.flags)
			if err == nil {
				err = register(Dir, line)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer write(filepath.Join(Dir, c.name), "-1")
			user := m
			user.Root = false
			_, err = user.Serve(a)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(e.Mend(), "echo -1 > "+Dir+"/"+c.name) {
				t.Errorf("%v", err)
			}
			if strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
				t.Errorf("not one clear line: %q", err)
			}
			w, err := m.Serve(a)
			if err != nil || w.How != Registered || len(w.Refused) != 1 {
				t.Errorf("%+v %v", w, err)
			}
			if err := Remove(Dir, a.Name); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFlags: each set of flags that a kernel or an emulator leaves us works.
func TestFlags(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	a := foreign(t)[0]
	emulator, _ := Emulator(a)
	m := Machine{Scratch: t.TempDir(), Root: true}
	for _, flags := range []string{"POCF", "OCF", "POC", "OC", "F"} {
		w := Way{Arch: a.Name, arch: a, Handler: Prefix + a.Name, Emulator: emulator}
		err := m.tryFlags(&w, flags)
		if err != nil && strings.Contains(flags, "P") {
			t.Logf("%s: %v", flags, err) // an emulator before qemu 6.0, a kernel before 5.12
			continue
		}
		if err != nil || w.Flags != flags || (len(w.place) == 1) == strings.Contains(flags, "F") {
			t.Errorf("%s: %+v %v", flags, w, err)
		}
		if err := drop(Dir, w.Handler); err != nil {
			t.Error(err)
		}
	}
	w := Way{Arch: a.Name, arch: a, Handler: Prefix + a.Name, Emulator: emulator}
	if err := m.tryFlags(&w, "XYZ"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a flag that the kernel does not know: %v", err)
	}
	native, _ := Lookup(runtime.GOARCH)
	w.Emulator = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(w.Emulator, native.program(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.tryFlags(&w, "OCF"); err == nil {
		t.Error("an emulator that is none was taken")
	}
	if tab, _ := Read(Dir); len(tab.Handlers) != 0 {
		t.Errorf("left: %+v", tab.Handlers)
	}
}

func TestDisabled(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	a := foreign(t)[0]
	if err := write(filepath.Join(Dir, "status"), "0"); err != nil {
		t.Fatal(err)
	}
	_, err := Machine{Scratch: t.TempDir(), Root: true}.Serve(a)
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "binfmt_misc is disabled") || e.Mend() != "echo 1 > "+Dir+"/status" {
		t.Errorf("%v", err)
	}
}

// TestNoEmulator hides the emulators by a mount in a namespace of its own.
func TestNoEmulator(t *testing.T) {
	if !inPrivate(t) {
		return
	}
	a := foreign(t)[0]
	path, _ := Emulator(a)
	if err := unix.Mount("tmpfs", filepath.Dir(path), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/nowhere")
	for _, link := range []string{"/bin", "/usr/local/bin"} {
		unix.Mount("tmpfs", link, "tmpfs", 0, "")
	}
	for _, m := range []Machine{{Root: true}, {User: true}, {}} {
		m.Scratch = t.TempDir()
		_, err := m.Serve(a)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "no qemu-"+a.CPU+"-static is installed") || !strings.Contains(e.Mend(), "qemu-user-static") {
			t.Errorf("%+v: %v", m, err)
		}
	}
	// One that is not static is no emulator for a container.
	os.WriteFile(filepath.Join(filepath.Dir(path), "qemu-"+a.CPU), []byte("\x7fELF"), 0o755)
	if _, err := Emulator(a); err == nil || !strings.Contains(err.Error(), "is no ELF program") {
		t.Error(err)
	}
}

func TestNative(t *testing.T) {
	a, _ := Lookup(runtime.GOARCH)
	w, err := Machine{Dir: t.TempDir(), Scratch: t.TempDir()}.Serve(a)
	if err != nil || w.How != Native {
		t.Errorf("%+v %v", w, err)
	}
}

func TestOrdinaryUser(t *testing.T) {
	for _, a := range foreign(t) {
		m := Machine{Dir: t.TempDir(), Scratch: t.TempDir()}
		w := m.Look(a)
		if w.How == Binfmt {
			t.Skip("this machine has handlers out of our sight")
		}
		_, err := m.Serve(a)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "only root") || !strings.Contains(e.Mend(), "coracle platform add "+a.Name) {
			t.Errorf("%v", err)
		}
		m.User = true
		if w, err = m.Serve(a); err != nil || w.How != Private {
			t.Errorf("%+v %v", w, err)
		}
		mounts, err := w.Mounts()
		if err != nil || len(mounts) != 1 || mounts[0].Type != "binfmt_misc" || !strings.Contains(strings.Join(mounts[0].Options, " "), RegisterOption+":coracle-"+a.Name+":M:0:") {
			t.Errorf("%+v %v", mounts, err)
		}
	}
}
