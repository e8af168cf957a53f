package spec

import (
	"fmt"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

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

// Limits are Docker's limits alone, for a group that is there. Pids -1 is none.
func Limits(r *container.Resources) (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{}
	if err := resources(out, r); err != nil {
		return nil, err
	}
	if r.PidsLimit != nil && *r.PidsLimit < 0 {
		out.Pids = &specs.LinuxPids{Limit: r.PidsLimit}
	}
	return out, nil
}
