package cgroup1

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
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
	steps := []func(*specs.LinuxResources) error{s.cpuset, s.cpu, s.memory, s.pids, s.blkio, s.hugetlb}
	if fresh {
		steps = append([]func(*specs.LinuxResources) error{s.hierarchy}, steps...)
	}
	if fresh || len(r.Devices) > 0 {
		steps = append(steps, s.devices)
	}
	for _, step := range steps {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	if len(r.Unified) > 0 {
		s.add("unified", "these are settings of control groups of version 2")
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

// dir is the group's directory of controller c; without one the limit is
// noted as one that cannot be held.
func (s *setter) dir(c, limit string) (string, bool) {
	dir, ok := s.g.dirs[c]
	if ok {
		return dir, true
	}
	if err := s.g.refused[c]; err != nil {
		s.add(limit, err.Error())
	} else {
		s.add(limit, "the "+c+" controller is not mounted, or this kernel has none")
	}
	return "", false
}

// write sets one file of controller c; a file that this kernel does not have
// is a limit that cannot be held.
func (s *setter) write(c, file, value, limit string) error {
	dir, ok := s.dir(c, limit)
	if !ok {
		return nil
	}
	err := cgfile.Write(dir, file, value)
	if errors.Is(err, fs.ErrNotExist) {
		s.add(limit, "this kernel has no "+file)
		return nil
	}
	return err
}

// hierarchy makes groups below count into this one (kernels before 5.11 leave
// it off by default). It cannot be changed once there are groups: then it is
// as it is.
func (s *setter) hierarchy(*specs.LinuxResources) error {
	if dir, ok := s.g.dirs["memory"]; ok {
		if v, err := cgfile.Read(dir, "memory.use_hierarchy"); err == nil && v == "0" {
			_ = cgfile.Write(dir, "memory.use_hierarchy", "1")
		}
	}
	return nil
}

func (s *setter) cpuset(r *specs.LinuxResources) error {
	return cgfile.CPUSet(r.CPU, func(file, value, limit string) error {
		return s.write("cpuset", file, value, limit)
	}, func(file string) string {
		v, _ := cgfile.Read(s.g.tops["cpuset"], file) // of the group that ours is made in
		return v
	})
}

func (s *setter) cpu(r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if c.Shares != nil && *c.Shares > 0 {
		if err := s.write("cpu", "cpu.shares", strconv.FormatUint(*c.Shares, 10), "--cpu-shares"); err != nil {
			return err
		}
	}
	if err := s.quota(c); err != nil {
		return err
	}
	if c.Burst != nil {
		if err := s.write("cpu", "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10), "cpu burst"); err != nil {
			return err
		}
	}
	if c.RealtimePeriod != nil && *c.RealtimePeriod > 0 {
		if err := s.write("cpu", "cpu.rt_period_us", strconv.FormatUint(*c.RealtimePeriod, 10), "--cpu-rt-period"); err != nil {
			return err
		}
	}
	if c.RealtimeRuntime != nil && *c.RealtimeRuntime > 0 {
		if err := s.write("cpu", "cpu.rt_runtime_us", strconv.FormatInt(*c.RealtimeRuntime, 10), "--cpu-rt-runtime"); err != nil {
			return err
		}
	}
	if c.Idle != nil {
		return s.write("cpu", "cpu.idle", strconv.FormatInt(*c.Idle, 10), "cpu idle")
	}
	return nil
}

// quota sets quota and period. The kernel checks each new ratio against the
// groups above and below, so that one order may be refused where the other is
// taken.
func (s *setter) quota(c *specs.LinuxCPU) error {
	const limit = "--cpus"
	period := func() error {
		if c.Period == nil || *c.Period == 0 {
			return nil
		}
		return s.write("cpu", "cpu.cfs_period_us", strconv.FormatUint(*c.Period, 10), limit)
	}
	quota := func() error {
		if c.Quota == nil || *c.Quota == 0 {
			return nil
		}
		return s.write("cpu", "cpu.cfs_quota_us", strconv.FormatInt(*c.Quota, 10), limit)
	}
	before := len(s.not)
	err := period()
	if errors.Is(err, unix.EINVAL) {
		if err = quota(); err == nil {
			return period()
		}
		return err
	}
	if err != nil {
		return err
	}
	if len(s.not) > before {
		return nil // said once for both
	}
	return quota()
}

func (s *setter) pids(r *specs.LinuxResources) error {
	if r.Pids == nil || r.Pids.Limit == nil {
		return nil
	}
	v := "max"
	if *r.Pids.Limit > 0 {
		v = strconv.FormatInt(*r.Pids.Limit, 10)
	} else if _, ok := s.g.dirs["pids"]; !ok {
		return nil // no limit is what there is
	}
	return s.write("pids", "pids.max", v, "--pids-limit")
}

func (s *setter) hugetlb(r *specs.LinuxResources) error {
	for _, h := range r.HugepageLimits {
		if err := s.write("hugetlb", "hugetlb."+h.Pagesize+".limit_in_bytes", strconv.FormatUint(h.Limit, 10), "hugepages"); err != nil {
			return err
		}
	}
	return nil
}

func (s *setter) blkio(r *specs.LinuxResources) error {
	b := r.BlockIO
	if b == nil {
		return nil
	}
	if b.Weight != nil && *b.Weight > 0 {
		if err := s.blkioWeight("", strconv.Itoa(int(*b.Weight)), "--blkio-weight"); err != nil {
			return err
		}
	}
	for _, w := range b.WeightDevice {
		if w.Weight == nil {
			continue
		}
		v := fmt.Sprintf("%d:%d %d", w.Major, w.Minor, *w.Weight)
		if err := s.blkioWeight("_device", v, "--blkio-weight-device"); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		devices     []specs.LinuxThrottleDevice
		file, limit string
	}{
		{b.ThrottleReadBpsDevice, "blkio.throttle.read_bps_device", "--device-read-bps"},
		{b.ThrottleWriteBpsDevice, "blkio.throttle.write_bps_device", "--device-write-bps"},
		{b.ThrottleReadIOPSDevice, "blkio.throttle.read_iops_device", "--device-read-iops"},
		{b.ThrottleWriteIOPSDevice, "blkio.throttle.write_iops_device", "--device-write-iops"},
	} {
		for _, d := range t.devices {
			v := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)
			if err := s.write("blkio", t.file, v, t.limit); err != nil {
				return err
			}
		}
	}
	return nil
}

// blkioWeight is CFQ's up to 4.20 and BFQ's, if anyone's, from then on.
func (s *setter) blkioWeight(suffix, value, limit string) error {
	before := len(s.not)
	if err := s.write("blkio", "blkio.weight"+suffix, value, limit); err != nil || len(s.not) == before {
		return err
	}
	if _, ok := s.g.dirs["blkio"]; !ok {
		return nil
	}
	s.not = s.not[:before]
	return s.write("blkio", "blkio.bfq.weight"+suffix, value, limit)
}

// devices writes the list of devices, in order.
func (s *setter) devices(r *specs.LinuxResources) error {
	if !slices.ContainsFunc(r.Devices, func(d specs.LinuxDeviceCgroup) bool { return !d.Allow }) {
		return nil // all is allowed, as in a fresh group
	}
	dir, ok := s.dir("devices", "devices")
	if !ok {
		return nil
	}
	for _, d := range r.Devices {
		file := "devices.deny"
		if d.Allow {
			file = "devices.allow"
		}
		err := cgfile.Write(dir, file, deviceRule(d))
		// EPERM to allow what the group above refuses: nothing to gain there.
		if err != nil && !(d.Allow && errors.Is(err, unix.EPERM)) {
			return err
		}
	}
	return nil
}

// deviceRule is a rule in the kernel's words: "a", "c 1:3 rwm", "b *:* m".
func deviceRule(d specs.LinuxDeviceCgroup) string {
	kind := d.Type
	if kind == "" {
		kind = "a"
	}
	num := func(n *int64) string {
		if n == nil || *n < 0 {
			return "*"
		}
		return strconv.FormatInt(*n, 10)
	}
	access := d.Access
	if access == "" {
		access = "rwm"
	}
	if kind == "a" && strings.Trim("rwm", access) == "" {
		return "a"
	}
	return kind + " " + num(d.Major) + ":" + num(d.Minor) + " " + access
}
