package confine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const childEnv = "CORACLE_CONFINE_TEST"

func TestMain(m *testing.M) {
	switch job := os.Getenv(childEnv); {
	case job == "":
		os.Exit(m.Run())
	case job == "caps":
		os.Exit(report(childCaps()))
	case job == "caps-user":
		os.Exit(report(childCapsUser()))
	case strings.HasPrefix(job, "filter "):
		os.Exit(report(childFilter(strings.TrimPrefix(job, "filter "))))
	}
	os.Exit(2)
}

func report(err error) int {
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

func child(t *testing.T, job string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child %q: %v\n%s", job, err, out)
	}
	return string(out)
}

// status prints this thread's capabilities, names and all.
func status() error {
	b, err := os.ReadFile("/proc/thread-self/status")
	if errors.Is(err, os.ErrNotExist) { // before 3.17
		b, err = os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", unix.Gettid()))
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Cap") {
			fmt.Print(strings.Replace(line, "\t", " ", 1))
		}
	}
	return err
}

func childCaps() error {
	runtime.LockOSThread()
	c, err := Caps(nil, nil, false)
	if err != nil {
		return err
	}
	if err := DropBounding(c); err != nil {
		return err
	}
	if err := SetCaps(c); err != nil {
		return err
	}
	return status()
}

// childCapsUser becomes another user as the second stage does, and keeps one
// capability of each kind.
func childCapsUser() error {
	runtime.LockOSThread()
	one := []string{"CAP_NET_BIND_SERVICE"}
	c := &specs.LinuxCapabilities{Bounding: one, Effective: one, Permitted: one, Inheritable: one, Ambient: one}
	if err := DropBounding(c); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETUID, 12345, 0, 0); e != 0 {
		return e
	}
	if err := SetCaps(c); err != nil {
		return err
	}
	return status()
}

func TestChildHasDockersCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to have capabilities to drop")
	}
	have := AvailableCaps()
	for _, c := range DefaultCaps() {
		if !strings.Contains(strings.Join(have, " ")+" ", c+" ") {
			t.Skipf("missing feature: %s in our own bounding set", c)
		}
	}
	out := child(t, "caps")
	for _, want := range []string{
		"CapInh: 0000000000000000", "CapPrm: 00000000a80425fb",
		"CapEff: 00000000a80425fb", "CapBnd: 00000000a80425fb",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestAmbientReachesAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to become another user")
	}
	out := child(t, "caps-user")
	kinds := []string{"CapInh", "CapPrm", "CapEff", "CapBnd"}
	if probetest.Report(t, os.TempDir()).Has(probe.CapsAmbient) {
		kinds = append(kinds, "CapAmb")
	}
	for _, k := range kinds {
		if !strings.Contains(out, k+": 0000000000000400") {
			t.Errorf("%s is not CAP_NET_BIND_SERVICE in\n%s", k, out)
		}
	}
}

// childFilter loads Docker's default profile and executes prog.
func childFilter(prog string) error {
	runtime.LockOSThread()
	s, err := Seccomp(Options{}, &specs.LinuxCapabilities{Bounding: DefaultCaps()}, false)
	if err != nil {
		return err
	}
	b, err := CompileSeccomp(s)
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := LoadFilter(b); err != nil {
		return err
	}
	return unix.Exec(prog, []string{prog}, nil)
}

// tryCalls is a program that makes calls by number and prints their errno.
const tryCalls = `package main

import ("fmt"; "syscall")

func main() {
	for _, nr := range []uintptr{%s} {
		_, _, e := syscall.RawSyscall6(nr, 0, 0, 0, 0, 0, 0)
		fmt.Println(nr, int(e))
	}
}
`

// build makes tryCalls for goarch.
func build(t *testing.T, goarch, calls string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("missing feature: the go command, to build a program for " + goarch)
	}
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, fmt.Appendf(nil, tryCalls, calls), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "try")
	cmd := exec.Command("go", "build", "-o", bin, src)
	cmd.Env = append(os.Environ(), "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build for %s: %v\n%s", goarch, err, out)
	}
	return bin
}

func TestLoadedFilter(t *testing.T) {
	probetest.Need(t, probe.SeccompFilter)
	for _, c := range []struct {
		goarch, calls string
		want          []string
	}{
		// getpid, keyctl, clone3, a call of the future, add_key; x32's keyctl.
		{"amd64", "39, 250, 435, 700, 248, 0x40000000|250", []string{"39 0", "250 1", "435 38", "700 38", "248 1", "1073742074 1"}},
		// 250 is fadvise64 here and allowed; keyctl is 288, and 39 mkdir.
		{"386", "20, 288, 435, 700, 286, 250", []string{"20 0", "288 1", "435 38", "700 38", "286 1"}},
	} {
		t.Run(c.goarch, func(t *testing.T) {
			if runtime.GOARCH != "amd64" && runtime.GOARCH != c.goarch {
				t.Skipf("missing feature: a processor that runs %s programs", c.goarch)
			}
			out := "\n" + child(t, "filter "+build(t, c.goarch, c.calls))
			for _, w := range c.want {
				if !strings.Contains(out, "\n"+w) {
					t.Errorf("no %q in %s", w, out)
				}
			}
			if c.goarch == "386" && strings.Contains(out, "\n250 1\n") {
				t.Error("a 386 program was judged by amd64's table")
			}
		})
	}
}
