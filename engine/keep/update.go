package keep

import (
	"errors"

	"github.com/moby/moby/api/types/container"
)

// Overlay puts the limits and the restart policy that u sets over those of h, by
// Docker's rules of what excludes what. Zero is not set.
func Overlay(h *container.HostConfig, u *container.UpdateConfig) error {
	to, from := &h.Resources, &u.Resources
	if from.NanoCPUs > 0 && (from.CPUPeriod > 0 || from.CPUQuota > 0) {
		return errors.New("Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set")
	}
	if (from.CPUPeriod > 0 || from.CPUQuota > 0) && to.NanoCPUs > 0 {
		return errors.New("Conflicting options: CPU Period/Quota cannot be updated as NanoCPUs has already been set")
	}
	if from.NanoCPUs > 0 && (to.CPUPeriod > 0 || to.CPUQuota > 0) {
		return errors.New("Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set")
	}
	// A container with a memory limit and no word on swap has as much of it again.
	swap := to.MemorySwap
	if swap == 0 {
		swap = 2 * to.Memory
	}
	if from.Memory > swap && swap >= 0 && from.MemorySwap == 0 {
		return errors.New("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	if !u.RestartPolicy.IsNone() && u.RestartPolicy.Name != "" && h.AutoRemove {
		return errors.New("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	set(&to.BlkioWeight, from.BlkioWeight)
	set(&to.CPUShares, from.CPUShares)
	set(&to.NanoCPUs, from.NanoCPUs)
	set(&to.CPUPeriod, from.CPUPeriod)
	set(&to.CPUQuota, from.CPUQuota)
	set(&to.CPURealtimePeriod, from.CPURealtimePeriod)
	set(&to.CPURealtimeRuntime, from.CPURealtimeRuntime)
	set(&to.CpusetCpus, from.CpusetCpus)
	set(&to.CpusetMems, from.CpusetMems)
	set(&to.Memory, from.Memory)
	set(&to.MemorySwap, from.MemorySwap)
	set(&to.MemoryReservation, from.MemoryReservation)
	set(&to.PidsLimit, from.PidsLimit)
	if u.RestartPolicy.Name != "" {
		h.RestartPolicy = u.RestartPolicy
	}
	return nil
}

func set[T comparable](to *T, from T) {
	var zero T
	if from != zero {
		*to = from
	}
}
