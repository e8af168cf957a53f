package cgfile

import (
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CPUSet writes the CPUs and memory nodes that c names, if any, by write, which
// is given the option of the command line too. What the kernel does not take is
// refused in Docker's words, with what there is by above.
func CPUSet(c *specs.LinuxCPU, write func(file, value, limit string) error, above func(file string) string) error {
	if c == nil {
		return nil
	}
	for _, f := range []struct{ value, file, limit, what string }{
		{c.Cpus, "cpuset.cpus", "--cpuset-cpus", "CPUs"},
		{c.Mems, "cpuset.mems", "--cpuset-mems", "memory nodes"},
	} {
		if f.value == "" {
			continue
		}
		err := write(f.file, f.value, f.limit)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("requested %s are not available - requested %s, available: %s: %w", f.what, f.value, above(f.file), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
