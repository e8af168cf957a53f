package cgroup2

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// tree is a directory that looks like a hierarchy with all controllers: it
// takes what is written, for machines whose controllers are elsewhere.
func tree(t *testing.T, without ...string) (*Driver, string) {
	t.Helper()
	top := t.TempDir()
	files := []string{
		"cgroup.controllers", "cgroup.subtree_control", "cgroup.procs", "memory.max", "memory.swap.max",
		"memory.low", "cpu.max", "cpu.weight", "cpuset.cpus", "cpuset.mems", "pids.max", "io.max", "io.weight",
		"hugetlb.2MB.max", "memory.high",
	}
	fill := func(dir string) error {
		for _, f := range files {
			body := ""
			if f == "cgroup.controllers" {
				body = "cpuset cpu io memory hugetlb pids rdma\n"
			}
			missing := false
			for _, w := range without {
				missing = missing || w == f
			}
			if !missing {
				if err := os.WriteFile(filepath.Join(dir, f), []byte(body), 0o600); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := fill(top); err != nil {
		t.Fatal(err)
	}
	d := New(Options{})
	d.root = true
	d.find = func() ([]cgfile.Hierarchy, error) {
		return []cgfile.Hierarchy{{V2: true, Mount: top, Own: "/user/me"}}, nil
	}
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

func resources() *specs.LinuxResources {
	limit, swap, low, quota, period, shares := int64(100<<20), int64(150<<20), int64(50<<20), int64(50000), uint64(100000), uint64(1024)
	pids, weight := int64(77), uint16(500)
	th := specs.LinuxThrottleDevice{Rate: 1048576}
	th.Major, th.Minor = 8, 16
	return &specs.LinuxResources{
		Memory:         &specs.LinuxMemory{Limit: &limit, Swap: &swap, Reservation: &low},
		CPU:            &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0-1", Mems: "0"},
		Pids:           &specs.LinuxPids{Limit: &pids},
		BlockIO:        &specs.LinuxBlockIO{Weight: &weight, ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{th}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}},
		Unified:        map[string]string{"memory.high": "90000000"},
	}
}

func TestFilesWritten(t *testing.T) {
	d, top := tree(t)
	g, not, err := d.Create("c1", "", resources())
	if err != nil || len(not) != 0 {
		t.Fatalf("Create: %v, %v", not, err)
	}
	dir := filepath.Join(top, cgfile.Parent, "c1")
	if g.Paths()[""] != dir {
		t.Errorf("group is %v", g.Paths())
	}
	for f, want := range map[string]string{
		"memory.max": "104857600", "memory.swap.max": "52428800", "memory.low": "52428800",
		"memory.high": "90000000", "cpu.max": "50000 100000", "cpu.weight": "100",
		"cpuset.cpus": "0-1", "cpuset.mems": "0", "pids.max": "77", "io.weight": "4950",
		"io.max": "8:16 rbps=1048576", "hugetlb.2MB.max": "4194304",
	} {
		if got, err := cgfile.Read(dir, f); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", f, got, err, want)
		}
	}
	// Writes to a plain file go over each other: the last is +pids.
	for _, p := range []string{top, filepath.Join(top, cgfile.Parent)} {
		if got, _ := cgfile.Read(p, "cgroup.subtree_control"); len(got) < 5 {
			t.Errorf("%s hands down %q", p, got)
		}
	}
	if got, _ := cgfile.Read(dir, "cgroup.subtree_control"); got != "" {
		t.Errorf("the container's own group hands down %q", got)
	}
	if err := g.Add(4242); err != nil {
		t.Error(err)
	}
	if got, _ := cgfile.Read(dir, "cgroup.procs"); got != "4242" {
		t.Errorf("cgroup.procs = %q", got)
	}
}

func TestMissingFilesAreReported(t *testing.T) {
	d, _ := tree(t, "memory.swap.max", "cpu.max", "pids.max")
	_, not, err := d.Create("c1", "", resources())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"--memory-swap": true, "--cpus": true, "--pids-limit": true}
	for _, u := range not {
		if !want[u.Limit] || u.Why == "" {
			t.Errorf("unexpected %+v", u)
		}
		delete(want, u.Limit)
	}
	if len(want) > 0 {
		t.Errorf("not reported: %v", want)
	}
}

func TestWeightCurve(t *testing.T) {
	for shares, want := range map[uint64]uint64{2: 1, 1024: 100, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("weight(%d) = %d, want %d", shares, got, want)
		}
	}
	last := uint64(0)
	for s := uint64(2); s <= 262144; s *= 2 {
		w := weight(s)
		if w < last {
			t.Errorf("weight(%d) = %d falls", s, w)
		}
		last = w
	}
}

func TestUserTakesHighestDelegatedGroup(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may write everywhere; the climb then ends at the top.
		d, top := tree(t)
		d.root = false
		if err := os.MkdirAll(filepath.Join(top, "user/me"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"user", "user/me"} {
			if err := os.WriteFile(filepath.Join(top, p, "cgroup.procs"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		all, _ := d.find()
		if got := d.base(all[0]); got != top {
			t.Errorf("base = %s, want %s", got, top)
		}
		if err := os.Remove(filepath.Join(top, "cgroup.procs")); err != nil {
			t.Fatal(err)
		}
		if got := d.base(all[0]); got != filepath.Join(top, "user") {
			t.Errorf("base = %s", got)
		}
	}
}

// run is what the kernel does with a device program, for its few operations.
func run(t *testing.T, prog []ebpf, kind, access, major, minor uint32) uint64 {
	t.Helper()
	var r [11]uint64
	ctx := [3]uint32{access<<16 | kind, major, minor}
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		dst, src := i.regs&15, i.regs>>4
		jump := false
		switch i.code {
		case ldxW:
			r[dst] = uint64(ctx[i.off/4])
		case movR:
			r[dst] = r[src]
		case movI:
			r[dst] = uint64(int64(i.imm))
		case andI32:
			r[dst] = uint64(uint32(r[dst]) & uint32(i.imm))
		case rshI32:
			r[dst] = uint64(uint32(r[dst]) >> uint32(i.imm))
		case jneI:
			jump = r[dst] != uint64(int64(i.imm))
		case jeqI:
			jump = r[dst] == uint64(int64(i.imm))
		case jneR:
			jump = r[dst] != r[src]
		case exit:
			return r[0]
		default:
			t.Fatalf("operation %#x", i.code)
		}
		if jump {
			pc += int(i.off)
		}
	}
	t.Fatal("ran off the end")
	return 0
}

func TestDeviceProgram(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	prog, err := deviceProgram([]specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "b", Access: "m"},
		{Allow: true, Type: "c", Major: n(1), Minor: n(3), Access: "rwm"},
		{Allow: true, Type: "c", Major: n(136), Access: "rwm"},
		{Allow: true, Type: "b", Major: n(8), Access: "r"},
		{Allow: false, Type: "b", Major: n(8), Minor: n(1), Access: "r"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const blk, chr, mk, rd, wr = 1, 2, 1, 2, 4
	for _, c := range []struct{ kind, access, major, minor, want uint32 }{
		{chr, rd | wr, 1, 3, 1}, {chr, rd, 1, 5, 0}, {chr, mk, 9, 9, 1}, {chr, mk | rd, 9, 9, 0},
		{chr, wr, 136, 7, 1}, {blk, rd, 136, 7, 0}, {blk, rd, 8, 0, 1}, {blk, wr, 8, 0, 0},
		{blk, rd, 8, 1, 0}, {blk, mk, 8, 1, 1}, {blk, rd | wr, 8, 0, 0},
	} {
		if got := run(t, prog, c.kind, c.access, c.major, c.minor); got != uint64(c.want) {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
