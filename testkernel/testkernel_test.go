package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"coracle/testkernel/kernels"
)

// wrapper builds testkernel and a program for the machine.
func wrapper(t *testing.T) (tk, guest string) {
	t.Helper()
	dir := t.TempDir()
	tk, guest = filepath.Join(dir, "testkernel"), filepath.Join(dir, "guest")
	for out, src := range map[string]string{tk: ".", guest: "./testdata/program.go"} {
		cmd := exec.Command("go", "build", "-o", out, src)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", src, err, msg)
		}
	}
	return tk, guest
}

// call runs testkernel and returns what it wrote and its exit code.
func call(t *testing.T, env []string, tk string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(tk, args...)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if env != nil {
		cmd.Env = env
	}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return out.String(), msg.String(), code
}

func TestUsage(t *testing.T) {
	tk, prog := wrapper(t)
	dir := t.TempDir()
	small, arm64, other := filepath.Join(dir, "small"), filepath.Join(dir, "arm64"), "arm64"
	image := make([]byte, 4096)
	copy(image[0x38:], "ARM\x64")
	if err := errors.Join(os.WriteFile(small, []byte("Linux"), 0o600), os.WriteFile(arm64, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	if runtime.GOARCH == "arm64" {
		t.Skip("missing feature: a machine that is not arm64, for a kernel that is not its own")
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "usage"},
		{[]string{"-nosys", "2.6.32"}, 2, "usage"},
		{[]string{"-nosys", "3.2", "-kernel", "bookworm", prog}, 2, "usage"},
		{[]string{"-nosys", "2.4.20", prog}, 2, "nothing older than 2.6.32"},
		{[]string{"-nosys", "new", prog}, 2, "want one like"},
		{[]string{"-nosys", "3.2", "/nonexistent"}, 125, "no such file"},
		{[]string{"-kernel", "minix", prog}, 125, `no kernel is called "minix"`},
		{[]string{"-kernel-image", "/nonexistent", prog}, 125, "kernel image: open /nonexistent"},
		{[]string{"-kernel-image", small, prog}, 125, "no kernel is so small"},
		{[]string{"-kernel-image", arm64, prog}, 125, arm64 + " is for arm64, and the program for " + runtime.GOARCH},
		{[]string{"-kernel", other, prog}, 125, "kernel " + other + " is for "},
		{[]string{"-kernel-image", small, "-m", "0", prog}, 2, "at least 16 MiB"},
		{[]string{"-kernel-image", small, "-timeout", "0s", prog}, 2, "longer than nothing"},
		{[]string{"-get", "minix"}, 125, `no kernel is called "minix"`},
	} {
		_, msg, code := call(t, nil, tk, c.args...)
		if code != c.code || !strings.Contains(msg, c.want) {
			t.Errorf("%q: %d %s", c.args, code, msg)
		}
	}
	_, msg, code := call(t, []string{"PATH=/nonexistent"}, tk, "-kernel-image", small, prog)
	if code != 125 || !strings.Contains(msg, "QEMU is not installed") || strings.Count(msg, "\n") != 1 {
		t.Errorf("without QEMU: %d %s", code, msg)
	}
	if out, _, code := call(t, nil, tk, "-list"); code != 0 || !strings.Contains(out, "bookworm ") {
		t.Errorf("-list: %d %s", code, out)
	}
}

func TestMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("missing feature: time for booting")
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("missing feature: a kernel by name for this architecture")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("missing feature: qemu-system-x86_64")
	}
	tk, prog := wrapper(t)
	bookworm, err := kernels.Named("bookworm", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernels.Get(bookworm, io.Discard)
	if err != nil {
		t.Skipf("missing feature: Debian's kernel from this machine's mirror: %v", err)
	}
	// Each case is a boot.
	for _, c := range []struct {
		what   string
		flags  []string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"a failing test", nil, []string{"exit", "1"}, 1, "testdata: yes", "to stderr"},
		{"a killed test", nil, []string{"kill"}, 137, "Linux version 6.1", ""},
		{"the product", nil, []string{"coracle"}, 0, "runs linux\n <nil>", ""},
		{"a panic", nil, []string{"panic"}, 125, "", "the kernel panicked while the program ran: Kernel panic - not syncing: sysrq"},
		{"an end", nil, []string{"poweroff"}, 125, "", "the machine ended while the program ran"},
		{"no memory", []string{"-m", "256"}, []string{"oom"}, 125, "", "the machine ran out of its 256 MiB of memory (-m gives it more): Out of memory: Killed process"},
		{"a hang", []string{"-timeout", "25s"}, []string{"hang"}, 125, "", "killed after 25s"},
		// Its end or the limit, whichever comes first.
		{"no console", []string{"-append", "8250.nr_uarts=0", "-timeout", "12s"}, []string{"hang"}, 125, "", "on its serial console"},
	} {
		t.Run(c.what, func(t *testing.T) {
			start := time.Now()
			args := append([]string{"-kernel-image", k.Image, "-timeout", "5m"}, c.flags...)
			out, msg, code := call(t, nil, tk, append(append(args, prog), c.args...)...)
			if code != c.code || !strings.Contains(out, c.stdout) || !strings.Contains(msg, c.stderr) {
				t.Errorf("exit code %d\n%s\n%s", code, out, msg)
			}
			if d := time.Since(start); d > 6*time.Minute {
				t.Errorf("it took %v", d)
			}
		})
	}
	// What has no header of a kernel is left to QEMU.
	_, msg, code := call(t, nil, tk, "-kernel-image", prog, "-timeout", "5s", prog)
	if code != 125 || strings.Count(msg, "\n") > 2 {
		t.Errorf("what is no kernel: %d %s", code, msg)
	}
}
