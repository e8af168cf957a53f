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
		{[]string{"-kernel-image", "/nonexistent", prog}, 125, "kernel image: stat /nonexistent"},
		{[]string{"-kernel-image", "/etc/passwd", "/bin"}, 125, ""},
	} {
		_, msg, code := call(t, nil, tk, c.args...)
		if code != c.code || !strings.Contains(msg, c.want) {
			t.Errorf("%q: %d %s", c.args, code, msg)
		}
	}
	_, msg, code := call(t, []string{"PATH=/nonexistent"}, tk, "-kernel-image", "/etc/passwd", prog)
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
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{"exit", "0"}, 0, "Linux version 6.1", "to stderr"},
		{[]string{"exit", "1"}, 1, "testdata: yes", ""},
		{[]string{"kill"}, 137, "", ""},
		{[]string{"panic"}, 125, "", "the kernel panicked while the program ran: Kernel panic - not syncing: sysrq"},
		{[]string{"poweroff"}, 125, "", "the machine ended while the program ran"},
	} {
		out, msg, code := call(t, nil, tk, append([]string{"-kernel-image", k.Image, "-timeout", "100s", prog}, c.args...)...)
		if code != c.code || !strings.Contains(out, c.stdout) || !strings.Contains(msg, c.stderr) {
			t.Errorf("%q: exit code %d\n%s\n%s", c.args, code, out, msg)
		}
	}
	start := time.Now()
	_, msg, code := call(t, nil, tk, "-kernel-image", k.Image, "-timeout", "3s", prog, "hang")
	if code != 125 || !strings.Contains(msg, "killed after 3s") && !strings.Contains(msg, "no word from the kernel") {
		t.Errorf("a hang: %d %s", code, msg)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("a limit of 3 s took %v", d)
	}
	_, msg, code = call(t, nil, tk, "-kernel-image", k.Image, "-append", "console=null", "-timeout", "3s", prog, "hang")
	if code != 125 {
		t.Errorf("a kernel without a console: %d %s", code, msg)
	}
	_, msg, code = call(t, nil, tk, "-kernel-image", prog, "-timeout", "3s", prog)
	if code != 125 || strings.Count(msg, "\n") > 2 {
		t.Errorf("what is no kernel: %d %s", code, msg)
	}
}
