// Package rlimits is the last rung of limits: no control groups, only what
// setrlimit(2) and nice(2) can do for each process by itself. It cannot find,
// freeze or signal a container's processes.
package rlimits

import (
	"fmt"
	"math"
	"runtime"
	"syscall"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Driver is the rung "rlimits".
type Driver struct{ memory string }

var (
	_ limits.Driver = Driver{}
	_ limits.Group  = (*group)(nil)
)

// New makes the driver; it needs nothing of the kernel. dataCounts: RLIMIT_DATA
// counts mapped memory here (probe.RlimitData). Else memory is held by
// RLIMIT_AS, which also counts what a program only reserves: programs of Go and
// Java reserve many times what they use, and do not start.
func New(dataCounts bool) Driver {
	if dataCounts {
		return Driver{memory: "RLIMIT_DATA"}
	}
	return Driver{memory: "RLIMIT_AS"}
}

// Name is the rung's name.
func (Driver) Name() string { return "rlimits" }

// Create turns r into limits for each process.
func (d Driver) Create(id, parent string, r *specs.LinuxResources) (limits.Group, []limits.Unhonoured, error) {
	if _, _, err := cgfile.Name(id, parent); err != nil {
		return nil, nil, err
	}
	g := &group{memory: d.memory}
	not := g.set(r)
	if parent != "" {
		not = append(not, limits.Unhonoured{Limit: "--cgroup-parent", Why: "there are no control groups"})
	}
	return g, not, nil
}

// Open returns a group that knows no limits: they are in the processes.
func (d Driver) Open(id, parent string) (limits.Group, error) {
	if _, _, err := cgfile.Name(id, parent); err != nil {
		return nil, err
	}
	return &group{memory: d.memory}, nil
}

type group struct {
	memory  string // the resource limit that stands for --memory
	rlimits []specs.POSIXRlimit
	nice    int
}

func (g *group) set(r *specs.LinuxResources) []limits.Unhonoured {
	g.rlimits, g.nice = nil, 0
	if r == nil {
		return nil
	}
	var not []limits.Unhonoured
	add := func(limit, why string) { not = append(not, limits.Unhonoured{Limit: limit, Why: why}) }
	if m := r.Memory; m != nil {
		if n := positive(m.Limit); n > 0 {
			g.rlimit(g.memory, n)
			add("--memory", "no memory control group: each process by itself may have this much "+heldBy(g.memory)+", all together more")
		}
		if positive(m.Swap) > 0 {
			add("--memory-swap", "no memory control group")
		}
		if positive(m.Reservation) > 0 {
			add("--memory-reservation", "no memory control group")
		}
		if m.Swappiness != nil {
			add("--memory-swappiness", "no memory control group")
		}
		if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
			add("--oom-kill-disable", "no memory control group")
		}
	}
	if r.Pids != nil {
		if n := positive(r.Pids.Limit); n > 0 {
			g.rlimit("RLIMIT_NPROC", n)
			add("--pids-limit", "no pids control group: the user of the container's processes may have this many in all (RLIMIT_NPROC), and root is not held by it")
		}
	}
	if r.CPU != nil {
		g.cpu(r.CPU, add)
	}
	others(r, add)
	return not
}

func heldBy(limit string) string {
	if limit == "RLIMIT_DATA" {
		return "memory of its own (RLIMIT_DATA)"
	}
	return "address space (RLIMIT_AS), which is more than it uses"
}

func others(r *specs.LinuxResources, add func(limit, why string)) {
	if b := r.BlockIO; b != nil {
		if b.Weight != nil && *b.Weight > 0 || len(b.WeightDevice) > 0 {
			add("--blkio-weight", "no control group for block devices")
		}
		if len(b.ThrottleReadBpsDevice)+len(b.ThrottleWriteBpsDevice)+len(b.ThrottleReadIOPSDevice)+len(b.ThrottleWriteIOPSDevice) > 0 {
			add("--device-read-bps", "no control group for block devices")
		}
	}
	if len(r.HugepageLimits) > 0 {
		add("hugepages", "no control group for huge pages")
	}
	if len(r.Unified) > 0 {
		add("unified", "no control groups")
	}
	for _, d := range r.Devices {
		if !d.Allow {
			add("devices", "no devices control group: a process with CAP_MKNOD can use any device")
			break
		}
	}
}

func (g *group) rlimit(name string, n uint64) {
	g.rlimits = append(g.rlimits, specs.POSIXRlimit{Type: name, Hard: n, Soft: n})
}

// cpu turns a processor share into a priority: one step of nice is a factor
// of 1.25 (kernel/sched/core.c, sched_prio_to_weight). Only ever downwards:
// above the host's own processes a container has no business.
func (g *group) cpu(c *specs.LinuxCPU, add func(limit, why string)) {
	factor := 1.0
	if c.Shares != nil && *c.Shares > 0 {
		factor *= float64(*c.Shares) / 1024
	}
	capped := c.Quota != nil && *c.Quota > 0
	if capped {
		period := uint64(100000)
		if c.Period != nil && *c.Period > 0 {
			period = *c.Period
		}
		factor *= min(1, float64(*c.Quota)/float64(period)/float64(runtime.NumCPU()))
	}
	if factor < 1 {
		g.nice = min(19, int(math.Round(-math.Log(factor)/math.Log(1.25))))
	}
	stands := fmt.Sprintf("no cpu control group: nice %d gives way to others", g.nice)
	if c.Shares != nil && *c.Shares > 0 && *c.Shares != 1024 {
		add("--cpu-shares", stands+", each process by itself")
	}
	if capped {
		add("--cpus", stands+", but takes what they leave")
	}
	if c.Cpus != "" {
		add("--cpuset-cpus", "no cpuset control group")
	}
	if c.Mems != "" {
		add("--cpuset-mems", "no cpuset control group")
	}
}

func positive(p *int64) uint64 {
	if p == nil || *p <= 0 {
		return 0
	}
	return uint64(*p)
}

func (g *group) Add(int) error                { return nil }
func (g *group) Rlimits() []specs.POSIXRlimit { return g.rlimits }
func (g *group) Nice() int                    { return g.nice }
func (g *group) PIDs() ([]int, bool, error)   { return nil, false, nil }
func (g *group) Stats() (limits.Stats, error) { return limits.Stats{Have: map[string]bool{}}, nil }
func (g *group) OOMKills() uint64             { return 0 }
func (g *group) Paths() map[string]string     { return nil }
func (g *group) Remove() error                { return nil }

// Signal cannot know whom to send sig to.
func (g *group) Signal(syscall.Signal) error {
	return fmt.Errorf("signal all processes without control groups: %w", unix.ENOTSUP)
}

// Freeze cannot know whom to stop.
func (g *group) Freeze(bool) error {
	return fmt.Errorf("freeze without control groups: %w", unix.ENOTSUP)
}

// Update changes what the next process gets; those that run keep theirs.
func (g *group) Update(r *specs.LinuxResources) ([]limits.Unhonoured, error) {
	not := g.set(r)
	if len(g.rlimits) > 0 || g.nice != 0 {
		not = append(not, limits.Unhonoured{Limit: "update", Why: "without control groups new limits hold for processes started from now on"})
	}
	return not, nil
}
