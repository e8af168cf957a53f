package engine

import (
	"context"

	"coracle/backends/limits"
	"coracle/engine/look"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

// Top lists a container's processes as ps with args would.
func Top(ctx context.Context, e *Engine, ref string, args []string) (*container.TopResponse, error) {
	c, s, err := e.find(ctx, ref)
	switch {
	case err != nil:
		return nil, err
	case s.Restarting:
		return nil, restarting(c)
	case !s.Running:
		return nil, notRunning(c)
	}
	pids, err := processes(e, c, &s)
	if err != nil {
		return nil, err
	}
	titles, rows, err := look.Top(pids, args)
	if err != nil {
		return nil, fail(Internal, err, "%v", err)
	}
	happened(e, c, "top")
	return &container.TopResponse{Titles: titles, Processes: rows}, nil
}

// processes are the host's PIDs of a running container's processes.
func processes(e *Engine, c *record.Container, s *record.State) ([]int, error) {
	if d, err := e.mach.Limits(c.Drivers.Limits); err == nil {
		if g, err := d.Open(c.ID, c.HostConfig.CgroupParent); err == nil {
			if pids, ok, err := g.PIDs(); ok && err == nil {
				return pids, nil
			}
		}
	}
	iso, err := e.mach.Isolation(c.Drivers.Isolation)
	if err != nil {
		return nil, err
	}
	t, err := e.sweeper.Target(c, s)
	if err != nil {
		return nil, err
	}
	return iso.Processes(t)
}

// Stats are a container's figures of one moment, those of before as PreCPUStats and
// PreRead. One that does not run has none.
func Stats(ctx context.Context, e *Engine, ref string, before *container.StatsResponse) (container.StatsResponse, error) {
	c, s, err := e.find(ctx, ref)
	if err != nil {
		return container.StatsResponse{}, err
	}
	r := container.StatsResponse{ID: c.ID, Name: "/" + c.Name, OSType: "linux"}
	if !s.Running || s.Restarting {
		return r, nil
	}
	r = look.Sample(figures(e, c, &s))
	r.ID, r.Name = c.ID, "/"+c.Name
	if !c.HostConfig.NetworkMode.IsHost() {
		r.Networks = look.Networks(s.Pid)
	}
	if before != nil {
		r.PreRead, r.PreCPUStats = before.Read, before.CPUStats
	}
	return r, nil
}

// figures are the group's, and for what it does not count those of the processes.
func figures(e *Engine, c *record.Container, s *record.State) limits.Stats {
	var out limits.Stats
	if d, err := e.mach.Limits(c.Drivers.Limits); err == nil {
		if g, err := d.Open(c.ID, c.HostConfig.CgroupParent); err == nil {
			out, _ = g.Stats()
		}
	}
	if out.Have["cpu"] && out.Have["memory"] && out.Have["pids"] {
		return out
	}
	pids, err := processes(e, c, s)
	if err != nil {
		return out
	}
	seen := look.Usage(pids)
	if !out.Have["cpu"] {
		out.CPUNanos = seen.CPUNanos
	}
	if !out.Have["memory"] {
		out.MemoryBytes = seen.MemoryBytes
	}
	if !out.Have["pids"] {
		out.PIDs = seen.PIDs
	}
	if !out.Have["blkio"] {
		out.ReadBytes, out.WriteBytes = seen.ReadBytes, seen.WriteBytes
		if out.Have == nil {
			out.Have = map[string]bool{}
		}
		out.Have["blkio"] = seen.Have["blkio"]
	}
	return out
}
