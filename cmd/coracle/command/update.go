package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

func newUpdate(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Update configuration of one or more containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			text("blkio-weight", "", "`uint16` Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)"),
			number("cpu-period", "", "Limit CPU CFS (Completely Fair Scheduler) period"),
			number("cpu-quota", "", "Limit CPU CFS (Completely Fair Scheduler) quota"),
			number("cpu-rt-period", "", "Limit the CPU real-time period in microseconds"),
			number("cpu-rt-runtime", "", "Limit the CPU real-time runtime in microseconds"),
			number("cpu-shares", "c", "CPU shares (relative weight)"),
			text("cpus", "", "`decimal` Number of CPUs"),
			text("cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)"),
			text("cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)"),
			text("memory", "m", "`bytes` Memory limit"),
			text("memory-reservation", "", "`bytes` Memory soft limit"),
			text("memory-swap", "", "`bytes` Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
			number("pids-limit", "", "Tune container pids limit (set -1 for unlimited)"),
			text("restart", "", "Restart policy to apply when a container exits"),
		},
	}
	v.Action = func(c *cli.Context) error {
		u, err := updateConfig(c, v)
		if err != nil {
			return err
		}
		return t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
			warnings, err := engine.Update(ctx, e, ref, u)
			for _, w := range warnings {
				t.warn(w)
			}
			return err
		})
	}
	return v
}

func updateConfig(c *cli.Context, v *verb) (u container.UpdateConfig, err error) {
	if c.NumFlags() == 0 {
		return u, errors.New("you must provide one or more flags when using this command")
	}
	for _, n := range []struct {
		flag string
		into *int64
		read func(string) (int64, error)
	}{
		{"memory", &u.Memory, opts.Bytes}, {"memory-reservation", &u.MemoryReservation, opts.Bytes},
		{"memory-swap", &u.MemorySwap, opts.Swap}, {"cpus", &u.NanoCPUs, opts.CPUs},
	} {
		if *n.into, err = n.read(c.String(n.flag)); err != nil {
			return u, v.badValue(n.flag, c.String(n.flag), err)
		}
	}
	if s := c.String("blkio-weight"); s != "" {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			var e *strconv.NumError
			if errors.As(err, &e) {
				err = fmt.Errorf("strconv.ParseUint: parsing %q: %w", s, e.Err)
			}
			return u, v.badValue("blkio-weight", s, err)
		}
		u.BlkioWeight = uint16(n)
	}
	u.CPUPeriod, u.CPUQuota = int64(c.Int("cpu-period")), int64(c.Int("cpu-quota"))
	u.CPURealtimePeriod, u.CPURealtimeRuntime = int64(c.Int("cpu-rt-period")), int64(c.Int("cpu-rt-runtime"))
	u.CPUShares, u.CpusetCpus, u.CpusetMems = int64(c.Int("cpu-shares")), c.String("cpuset-cpus"), c.String("cpuset-mems")
	if n := int64(c.Int("pids-limit")); n != 0 {
		u.PidsLimit = &n
	}
	u.RestartPolicy, err = opts.RestartPolicy(c.String("restart"))
	return u, err
}
