package cgroup1

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"coracle/backends/limits/cgfile"
)

func TestBornInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to make control groups")
	}
	lg, _, err := New(Options{}).Create(fmt.Sprintf("births-%d", os.Getpid()), "", nil)
	if err != nil {
		t.Skipf("missing feature: control groups of version 1: %v", err)
	}
	g := lg.(*group)
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CORACLE_LIMITSTEST=sleep")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	all, err := g.Inside(cmd.Start)
	if err != nil {
		t.Fatal(err)
	}
	if !all {
		t.Error("the child has to be moved in")
	}
	t.Logf("born in %v", time.Since(begin))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, p := range g.paths() {
		tasks, err := cgfile.Numbers(nil, p.path, "cgroup.procs")
		if err != nil || !slices.Equal(tasks, []int{cmd.Process.Pid}) {
			t.Errorf("%s holds %v, %v, want the child %d alone", p.path, tasks, err, cmd.Process.Pid)
		}
	}
	begin = time.Now()
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	t.Logf("Add in %v", time.Since(begin))
}
