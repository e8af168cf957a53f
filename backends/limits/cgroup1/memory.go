package cgroup1

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	memLimit  = "memory.limit_in_bytes"
	swapLimit = "memory.memsw.limit_in_bytes"
)

func (s *setter) memory(r *specs.LinuxResources) error {
	m := r.Memory
	if m == nil {
		return nil
	}
	if err := s.memoryAndSwap(m); err != nil {
		return err
	}
	if m.Reservation != nil && *m.Reservation != 0 {
		if err := s.write("memory", "memory.soft_limit_in_bytes", strconv.FormatInt(*m.Reservation, 10), "--memory-reservation"); err != nil {
			return err
		}
	}
	if m.Swappiness != nil && int64(*m.Swappiness) >= 0 {
		if err := s.write("memory", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10), "--memory-swappiness"); err != nil {
			return err
		}
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		return s.write("memory", "memory.oom_control", "1", "--oom-kill-disable")
	}
	return nil
}

// memoryAndSwap sets the limit of memory and that of memory with swap. The
// kernel keeps the former at or below the latter at every moment, so the order
// depends on where they stand.
func (s *setter) memoryAndSwap(m *specs.LinuxMemory) error {
	limit, total := int64(0), int64(0)
	if m.Limit != nil {
		limit = *m.Limit
	}
	if m.Swap != nil {
		total = *m.Swap
	}
	if limit == -1 && total == 0 {
		total = -1 // without a limit of memory one of both makes no sense
	}
	if limit == 0 && total == 0 {
		return nil
	}
	dir, ok := s.dir("memory", "--memory")
	if !ok {
		return nil
	}
	swap := func() error {
		if total == 0 {
			return nil
		}
		err := cgfile.Write(dir, swapLimit, strconv.FormatInt(total, 10))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EOPNOTSUPP) {
			if total > 0 {
				s.add("--memory-swap", "this kernel does not account swap (boot it with swapaccount=1)")
			}
			return nil
		}
		return busy(err, dir, "memory.memsw.usage_in_bytes")
	}
	memory := func() error {
		if limit == 0 {
			return nil
		}
		return busy(cgfile.Write(dir, memLimit, strconv.FormatInt(limit, 10)), dir, "memory.usage_in_bytes")
	}
	if raises(dir, total) {
		if err := swap(); err != nil {
			return err
		}
		return memory()
	}
	if err := memory(); err != nil {
		return err
	}
	return swap()
}

// raises tells whether total is above the limit of memory with swap as it is.
func raises(dir string, total int64) bool {
	if total == -1 {
		return true
	}
	cur, err := cgfile.Uint(dir, swapLimit)
	return err == nil && total > 0 && uint64(total) > cur
}

// busy explains EBUSY: more is in use than the new limit, and the kernel could
// not take enough away.
func busy(err error, dir, usage string) error {
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	n, _ := cgfile.Uint(dir, usage)
	return fmt.Errorf("more memory is in use (%d bytes) than the new limit: %w", n, err)
}
