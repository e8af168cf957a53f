package cgroup1

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"coracle/backends/limits/cgfile"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// TestDoors has a child go in by itself, and one that a door refuses.
func TestDoors(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to make control groups")
	}
	lg, _, err := New(mountable(t)).Create(fmt.Sprintf("doors-%d", os.Getpid()), "", nil)
	if err != nil {
		t.Skipf("missing feature: control groups of version 1: %v", err)
	}
	g := lg.(*group)
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	pid, outside := goIn(t, g, nil)
	if outside {
		t.Error("a door refused the child")
	}
	for _, p := range g.paths() {
		in, err := cgfile.Numbers(nil, p.path, "cgroup.procs")
		if err != nil || !slices.Equal(in, []int{pid}) {
			t.Errorf("%s holds %v, %v, want the child %d alone", p.path, in, err, pid)
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	pid, outside = goIn(t, g, full)
	if !outside {
		t.Error("nothing said that the child was refused")
	}
	if err := g.Add(pid); err != nil {
		t.Error(err)
	}
}

// goIn starts a sleeping child through the doors of g; with instead, that is its
// last door.
func goIn(t *testing.T, g *group, instead *os.File) (pid int, outside bool) {
	t.Helper()
	fds, err := g.Doors()
	if err != nil {
		t.Fatal(err)
	}
	if len(fds) == 0 {
		t.Fatal("no doors")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	f := sys.Fork{
		Path: "/proc/self/exe", Args: []string{"sleeper"}, Env: append(os.Environ(), "CORACLE_LIMITSTEST=sleep"),
		Files: []int{int(r.Fd()), 1, 2}, Groups: slices.Clone(fds),
	}
	if instead != nil {
		f.Groups[len(fds)-1] = int(instead.Fd())
	}
	pid, err = f.Exec()
	for _, fd := range fds {
		unix.Close(fd)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	})
	return pid, f.Outside
}
