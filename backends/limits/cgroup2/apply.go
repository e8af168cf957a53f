package cgroup2

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// setter writes limits and collects those that cannot be held.
type setter struct {
	g   *group
	not []limits.Unhonoured
}

func (g *group) apply(r *specs.LinuxResources, fresh bool) ([]limits.Unhonoured, error) {
	if r == nil {
		r = &specs.LinuxResources{}
	}
	s := &setter{g: g}
	for _, step := range []func(*specs.LinuxResources) error{s.cpuset, s.cpu, s.memory, s.pids, s.io, s.hugetlb, s.unified} {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	if err := s.devices(r, fresh); err != nil {
		return nil, err
	}
	return s.not, nil
}

// Update changes the limits that r names.
func (g *group) Update(r *specs.LinuxResources) ([]limits.Unhonoured, error) {
	return g.apply(r, false)
}

func (s *setter) add(limit, why string) {
	s.not = append(s.not, limits.Unhonoured{Limit: limit, Why: why})
}

// write sets one file. A file that is not there is a limit that cannot be
// held, because its controller was not handed down or the kernel has no such
// thing.
func (s *setter) write(file, value, limit string) error {
	err := cgfile.Write(s.g.dir, file, value)
	if errors.Is(err, fs.ErrNotExist) {
		s.add(limit, s.missing(file))
		return nil
	}
	return err
}

func (s *setter) missing(file string) string {
	c, _, _ := strings.Cut(file, ".")
	if err := s.g.refused[c]; err != nil {
		return "the " + c + " controller cannot be handed down: " + err.Error()
	}
	has, err := cgfile.Read(s.g.dir, "cgroup.controllers")
	for w := range strings.FieldsSeq(has) {
		if w == c {
			return "this kernel has no " + file
		}
	}
	if err == nil {
		return "the " + c + " controller is not in version 2 here, or was not delegated to us"
	}
	return "there is no " + file
}

func (s *setter) cpuset(r *specs.LinuxResources) error {
	return cgfile.CPUSet(r.CPU, s.write, func(file string) string {
		v, _ := cgfile.Read(filepath.Dir(s.g.dir), file+".effective")
		return v
	})
}

func (s *setter) cpu(r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if c.Idle != nil {
		if err := s.write("cpu.idle", strconv.FormatInt(*c.Idle, 10), "cpu idle"); err != nil {
			return err
		}
	}
	if c.Shares != nil && *c.Shares > 0 && (c.Idle == nil || *c.Idle == 0) {
		if err := s.write("cpu.weight", strconv.FormatUint(weight(*c.Shares), 10), "--cpu-shares"); err != nil {
			return err
		}
	}
	if (c.Quota != nil && *c.Quota != 0) || (c.Period != nil && *c.Period != 0) {
		if err := s.write("cpu.max", cpuMax(c), "--cpus"); err != nil {
			return err
		}
	}
	if c.Burst != nil {
		if err := s.write("cpu.max.burst", strconv.FormatUint(*c.Burst, 10), "cpu burst"); err != nil {
			return err
		}
	}
	if (c.RealtimePeriod != nil && *c.RealtimePeriod > 0) || (c.RealtimeRuntime != nil && *c.RealtimeRuntime > 0) {
		s.add("--cpu-rt-runtime", "control groups of version 2 do not limit real-time scheduling")
	}
	return nil
}

// cpuMax is "quota period"; without a period the kernel keeps the one it has.
func cpuMax(c *specs.LinuxCPU) string {
	v := "max"
	if c.Quota != nil && *c.Quota > 0 {
		v = strconv.FormatInt(*c.Quota, 10)
	}
	if c.Period != nil && *c.Period > 0 {
		v += " " + strconv.FormatUint(*c.Period, 10)
	}
	return v
}

// weight turns shares (2 to 262144, 1024 by default) into cpu.weight (1 to
// 10000, 100 by default) by the curve through these three points that crun and
// runc agreed on (opencontainers/runc pull 4785).
func weight(shares uint64) uint64 {
	if shares <= 2 {
		return 1
	}
	if shares >= 262144 {
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612.0-7.0/34.0)))
}

func (s *setter) memory(r *specs.LinuxResources) error {
	m := r.Memory
	if m == nil {
		return nil
	}
	if err := s.swap(m); err != nil {
		return err
	}
	if m.Limit != nil && *m.Limit != 0 {
		if err := s.write("memory.max", maxed(*m.Limit), "--memory"); err != nil {
			return err
		}
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		if err := s.write("memory.low", maxed(*m.Reservation), "--memory-reservation"); err != nil {
			return err
		}
	}
	if m.Swappiness != nil && int64(*m.Swappiness) >= 0 {
		s.add("--memory-swappiness", "control groups of version 2 have none of their own")
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		s.add("--oom-kill-disable", "control groups of version 2 always kill")
	}
	return nil
}

// swap turns Docker's total of memory and swap into swap alone. It comes
// before the limit of memory: a container that is about to be squeezed shall
// not be squeezed into swap that it may not have.
func (s *setter) swap(m *specs.LinuxMemory) error {
	if m.Swap == nil || *m.Swap == 0 {
		if m.Limit != nil && *m.Limit == -1 {
			return s.swapMax("max")
		}
		return nil
	}
	if *m.Swap == -1 {
		return s.swapMax("max")
	}
	if m.Limit == nil || *m.Limit <= 0 {
		return fmt.Errorf("limit memory with swap to %d: there is no limit of memory: %w", *m.Swap, unix.EINVAL)
	}
	if *m.Swap < *m.Limit {
		return fmt.Errorf("limit memory with swap to %d: that is below the limit of memory, %d: %w", *m.Swap, *m.Limit, unix.EINVAL)
	}
	return s.swapMax(strconv.FormatInt(*m.Swap-*m.Limit, 10))
}

func (s *setter) swapMax(v string) error {
	before := len(s.not)
	err := s.write("memory.swap.max", v, "--memory-swap")
	if v == "max" {
		s.not = s.not[:before] // no limit is what there is
	}
	return err
}

func maxed(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

func (s *setter) pids(r *specs.LinuxResources) error {
	if r.Pids == nil || r.Pids.Limit == nil {
		return nil
	}
	if *r.Pids.Limit > 0 {
		return s.write("pids.max", strconv.FormatInt(*r.Pids.Limit, 10), "--pids-limit")
	}
	before := len(s.not)
	err := s.write("pids.max", "max", "--pids-limit")
	s.not = s.not[:before]
	return err
}

func (s *setter) hugetlb(r *specs.LinuxResources) error {
	for _, h := range r.HugepageLimits {
		if err := s.write("hugetlb."+h.Pagesize+".max", strconv.FormatUint(h.Limit, 10), "hugepages"); err != nil {
			return err
		}
	}
	return nil
}

func (s *setter) io(r *specs.LinuxResources) error {
	b := r.BlockIO
	if b == nil {
		return nil
	}
	if b.Weight != nil && *b.Weight > 0 {
		if err := s.ioWeight("", *b.Weight, "--blkio-weight"); err != nil {
			return err
		}
	}
	for _, w := range b.WeightDevice {
		if w.Weight == nil {
			continue
		}
		if err := s.ioWeight(fmt.Sprintf("%d:%d ", w.Major, w.Minor), *w.Weight, "--blkio-weight-device"); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		devices    []specs.LinuxThrottleDevice
		key, limit string
	}{
		{b.ThrottleReadBpsDevice, "rbps", "--device-read-bps"},
		{b.ThrottleWriteBpsDevice, "wbps", "--device-write-bps"},
		{b.ThrottleReadIOPSDevice, "riops", "--device-read-iops"},
		{b.ThrottleWriteIOPSDevice, "wiops", "--device-write-iops"},
	} {
		for _, d := range t.devices {
			v := "max"
			if d.Rate > 0 {
				v = strconv.FormatUint(d.Rate, 10)
			}
			if err := s.write("io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.key, v), t.limit); err != nil {
				return err
			}
		}
	}
	return nil
}

// ioWeight is BFQ's own scale (1 to 1000) where BFQ is there, else io.weight's
// (1 to 10000), onto which Docker's 10 to 1000 are stretched.
func (s *setter) ioWeight(device string, w uint16, limit string) error {
	err := cgfile.Write(s.g.dir, "io.bfq.weight", device+strconv.Itoa(int(w)))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	v := 1 + (max(10, uint64(w))-10)*9999/990
	return s.write("io.weight", device+strconv.FormatUint(min(v, 10000), 10), limit)
}

// unified writes what was given in the kernel's own words.
func (s *setter) unified(r *specs.LinuxResources) error {
	files := make([]string, 0, len(r.Unified))
	for f := range r.Unified {
		if strings.ContainsAny(f, "/\x00") || !strings.Contains(f, ".") {
			return fmt.Errorf("unified setting %q is not a control file: %w", f, unix.EINVAL)
		}
		files = append(files, f)
	}
	sort.Strings(files)
	for _, f := range files {
		for line := range strings.SplitSeq(strings.TrimSpace(r.Unified[f]), "\n") {
			if err := s.write(f, line, f); err != nil {
				return err
			}
		}
	}
	return nil
}
