package cgroup1

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// old is a directory that looks like the hierarchies of a 2.6.32: no pids, no
// blkio, no quota, no swap accounting.
func old(t *testing.T) (*Driver, string) {
	t.Helper()
	top := t.TempDir()
	files := map[string][]string{
		"cpuset": {"cpuset.cpus", "cpuset.mems"}, "cpu": {"cpu.shares"}, "cpuacct": {"cpuacct.usage"},
		"memory":  {"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.use_hierarchy", "memory.soft_limit_in_bytes"},
		"devices": {"devices.allow", "devices.deny"}, "freezer": {"freezer.state"},
	}
	fill := func(p string) error {
		rel, _ := filepath.Rel(top, p)
		for _, f := range append(files[firstOf(rel)], "tasks") {
			if err := os.WriteFile(filepath.Join(p, f), nil, 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	var hs []cgfile.Hierarchy
	for c := range files {
		p := filepath.Join(top, c)
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := fill(p); err != nil {
			t.Fatal(err)
		}
		hs = append(hs, cgfile.Hierarchy{Controllers: []string{c}, Mount: p, Own: "/"})
	}
	if err := os.WriteFile(filepath.Join(top, "cpuset/cpuset.cpus"), []byte("0-3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := New(Options{})
	d.find = func() ([]cgfile.Hierarchy, error) { return hs, nil }
	d.mkdir = func(p string) error {
		if err := os.Mkdir(p, 0o755); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return nil
			}
			return err
		}
		return fill(p)
	}
	return d, top
}

func firstOf(p string) string {
	for i := range len(p) {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return p
}

func TestOldKernel(t *testing.T) {
	d, top := old(t)
	limit, quota, period, shares, pids, weight := int64(64<<20), int64(5000), uint64(10000), uint64(512), int64(9), uint16(100)
	g, not, err := d.Create("c1", "", &specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: &limit, Swap: &limit},
		CPU:     &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares},
		Pids:    &specs.LinuxPids{Limit: &pids},
		BlockIO: &specs.LinuxBlockIO{Weight: &weight},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range not {
		names = append(names, u.Limit)
	}
	slices.Sort(names)
	if want := []string{"--blkio-weight", "--cpus", "--memory-swap", "--pids-limit"}; !slices.Equal(names, want) {
		t.Errorf("not honoured: %v, want %v", names, want)
	}
	for f, want := range map[string]string{
		"memory/coracle/c1/memory.limit_in_bytes": "67108864",
		"cpu/coracle/c1/cpu.shares":               "512",
		"cpuset/coracle/cpuset.cpus":              "0-3",
		"cpuset/coracle/c1/cpuset.cpus":           "0-3",
	} {
		if got, err := cgfile.Read(top, f); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", f, got, err, want)
		}
	}
	if len(g.Paths()) != 6 {
		t.Errorf("Paths = %v", g.Paths())
	}
}

// Where cgroup.procs cannot be written every thread is moved by itself.
func TestThreadsAreMovedOneByOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to make control groups")
	}
	d := New(mountable(t))
	g, _, err := d.Create("threads-"+filepath.Base(t.TempDir())+t.Name(), "", nil)
	if err != nil {
		t.Skipf("missing feature: control groups of version 1: %v", err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CORACLE_LIMITSTEST=spin 20000")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_, _ = in.Write([]byte{'g'})
	threads := func() int {
		entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "task"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	// Its runtime starts the others when it comes to it.
	for end := time.Now().Add(10 * time.Second); threads() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the child has one thread only")
		}
	}
	dir := g.(*group).anchor()
	if err := joinThreads(dir, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	// Counted first: what starts from now on starts in the group.
	have := threads()
	tasks, err := cgfile.Numbers(nil, dir, "tasks")
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) < have {
		t.Errorf("%d threads, %d in the group", have, len(tasks))
	}
}

func TestMountOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to mount")
	}
	const c = "net_cls" // nothing else of ours uses it
	dir := filepath.Join(t.TempDir(), c)
	if err := mountOne(dir, c); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tasks")); err != nil {
		t.Skipf("missing feature: the controller %s is not free", c)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := mountOne(dir, c); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestEnabledControllers(t *testing.T) {
	f := filepath.Join(t.TempDir(), "cgroups")
	body := "#subsys_name\thierarchy\tnum_cgroups\tenabled\nns\t0\t1\t1\ncpu\t0\t1\t1\nmemory\t0\t1\t0\nfreezer\t0\t1\t1\n"
	if err := os.WriteFile(f, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := enabledControllers(f)
	if err != nil || !slices.Equal(got, []string{"cpu", "freezer"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDeviceRule(t *testing.T) {
	one, any := int64(1), int64(-1)
	for _, c := range []struct {
		d    specs.LinuxDeviceCgroup
		want string
	}{
		{specs.LinuxDeviceCgroup{Access: "rwm"}, "a"},
		{specs.LinuxDeviceCgroup{Type: "c", Major: &one, Minor: &any, Access: "m"}, "c 1:* m"},
		{specs.LinuxDeviceCgroup{Type: "b", Access: "rw"}, "b *:* rw"},
	} {
		if got := deviceRule(c.d); got != c.want {
			t.Errorf("%+v: %q, want %q", c.d, got, c.want)
		}
	}
}
