package rlimits

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestWhatStandsInIsSaid(t *testing.T) {
	mem, pids, shares := int64(64<<20), int64(50), uint64(512)
	g, not, err := New(false).Create("c1", "", &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &mem}, Pids: &specs.LinuxPids{Limit: &pids}, CPU: &specs.LinuxCPU{Shares: &shares},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, r := range g.Rlimits() {
		got[r.Type] = r.Hard
	}
	if got["RLIMIT_AS"] != 64<<20 || got["RLIMIT_NPROC"] != 50 || g.Nice() != 3 {
		t.Errorf("%v, nice %d", got, g.Nice())
	}
	if len(not) != 3 {
		t.Errorf("not honoured: %+v", not)
	}
	if _, ok, err := g.PIDs(); ok || err != nil {
		t.Error("claims to know its processes")
	}
	if err := g.Signal(syscall.SIGKILL); !errors.Is(err, syscall.ENOTSUP) {
		t.Error(err)
	}
	if _, not, err := New(true).Create("c1", "", nil); err != nil || len(not) != 0 {
		t.Errorf("nothing asked, %v not honoured, %v", not, err)
	}
}

func TestMemoryIsWhatIsUsedWhereTheKernelCounts(t *testing.T) {
	mem := int64(64 << 20)
	g, not, err := New(true).Create("c1", "", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &mem}})
	if err != nil {
		t.Fatal(err)
	}
	if r := g.Rlimits(); len(r) != 1 || r[0].Type != "RLIMIT_DATA" || r[0].Hard != 64<<20 {
		t.Errorf("%v", r)
	}
	if len(not) != 1 || !strings.Contains(not[0].Why, "RLIMIT_DATA") {
		t.Errorf("not honoured: %+v", not)
	}
}
