package spec

import (
	"fmt"
	"strings"

	"coracle/backends/confine"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices are the nodes of the container and the rules of its devices group.
func devices(l *specs.Linux, h *container.HostConfig) error {
	l.Devices = confine.Devices()
	l.Resources = &specs.LinuxResources{Devices: confine.DeviceRules(h.Privileged)}
	if h.Privileged {
		all, err := confine.HostDevices()
		if err != nil {
			return err
		}
		l.Devices = append(l.Devices, all...)
	}
	for _, m := range h.Devices {
		inside, perms := m.PathInContainer, m.CgroupPermissions
		if inside == "" {
			inside = m.PathOnHost
		}
		if perms == "" {
			perms = "rwm"
		}
		d, err := confine.HostDevice(m.PathOnHost, inside)
		if err != nil {
			return fmt.Errorf("error gathering device information while adding custom device %q: %w", m.PathOnHost, err)
		}
		rule, err := confine.AccessRule(d, perms)
		if err != nil {
			return err
		}
		l.Devices = append(l.Devices, d)
		l.Resources.Devices = append(l.Resources.Devices, rule)
	}
	for _, r := range h.DeviceCgroupRules {
		rule, err := deviceRule(r)
		if err != nil {
			return err
		}
		l.Resources.Devices = append(l.Resources.Devices, rule)
	}
	return nil
}

// deviceRule reads "c 1:3 rwm".
func deviceRule(s string) (specs.LinuxDeviceCgroup, error) {
	var kind, major, minor string
	bad := fmt.Errorf("invalid device cgroup rule format: '%s'", s)
	f := strings.Fields(s)
	if len(f) != 3 || len(f[0]) != 1 || !strings.Contains("abc", f[0]) || strings.Trim(f[2], "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	kind = f[0]
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return specs.LinuxDeviceCgroup{}, bad
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: f[2]}
	for _, part := range []struct {
		text string
		to   **int64
	}{{major, &rule.Major}, {minor, &rule.Minor}} {
		if part.text == "*" {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(part.text, "%d", &n); err != nil {
			return rule, bad
		}
		*part.to = &n
	}
	return rule, nil
}

// resources are Docker's limits in the words of the spec.
func resources(out *specs.LinuxResources, r *container.Resources) error {
	out.Memory = memory(r)
	out.CPU = cpu(r)
	if r.PidsLimit != nil && *r.PidsLimit > 0 {
		out.Pids = &specs.LinuxPids{Limit: r.PidsLimit}
	}
	return blockIO(out, r)
}

func memory(r *container.Resources) *specs.LinuxMemory {
	m := &specs.LinuxMemory{}
	used := false
	if r.Memory > 0 {
		used, m.Limit = true, &r.Memory
		// Docker: as much swap as memory where nothing is said.
		swap := r.MemorySwap
		if swap == 0 {
			swap = 2 * r.Memory
		}
		m.Swap = &swap
	}
	if r.MemoryReservation > 0 {
		used, m.Reservation = true, &r.MemoryReservation
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		n := uint64(*r.MemorySwappiness)
		used, m.Swappiness = true, &n
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		used, m.DisableOOMKiller = true, r.OomKillDisable
	}
	if !used {
		return nil
	}
	return m
}

func cpu(r *container.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	used := c.Cpus != "" || c.Mems != ""
	if r.CPUShares > 0 {
		n := uint64(r.CPUShares)
		used, c.Shares = true, &n
	}
	if r.NanoCPUs > 0 {
		period, quota := uint64(100000), r.NanoCPUs*100000/1e9
		used, c.Period, c.Quota = true, &period, &quota
	}
	if r.CPUPeriod > 0 {
		n := uint64(r.CPUPeriod)
		used, c.Period = true, &n
	}
	if r.CPUQuota != 0 {
		used, c.Quota = true, &r.CPUQuota
	}
	if r.CPURealtimePeriod > 0 {
		n := uint64(r.CPURealtimePeriod)
		used, c.RealtimePeriod = true, &n
	}
	if r.CPURealtimeRuntime > 0 {
		used, c.RealtimeRuntime = true, &r.CPURealtimeRuntime
	}
	if !used {
		return nil
	}
	return c
}

func blockIO(out *specs.LinuxResources, r *container.Resources) error {
	b := &specs.LinuxBlockIO{}
	used := false
	if r.BlkioWeight > 0 {
		used, b.Weight = true, &r.BlkioWeight
	}
	for _, d := range r.BlkioWeightDevice {
		major, minor, err := device(d.Path)
		if err != nil {
			return err
		}
		w := specs.LinuxWeightDevice{Weight: &d.Weight}
		w.Major, w.Minor = major, minor
		used, b.WeightDevice = true, append(b.WeightDevice, w)
	}
	for _, set := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range set.from {
			major, minor, err := device(d.Path)
			if err != nil {
				return err
			}
			t := specs.LinuxThrottleDevice{Rate: d.Rate}
			t.Major, t.Minor = major, minor
			used, *set.to = true, append(*set.to, t)
		}
	}
	if used {
		out.BlockIO = b
	}
	return nil
}

func device(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, fmt.Errorf("device %s: %w", path, err)
	}
	return int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev))), nil
}
