package engine

import (
	"context"
	"path/filepath"
	"time"

	"coracle/engine/machine"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/storage"
)

// Inspect tells all about a container.
func (e *Engine) Inspect(ctx context.Context, ref string, size bool) (*container.InspectResponse, error) {
	c, s, err := e.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := &container.InspectResponse{
		ID: c.ID, Created: c.Created.Format(time.RFC3339Nano), Path: c.Path, Args: c.Args, State: stateOf(&s),
		Image: c.ImageID, Name: "/" + c.Name, Driver: c.Drivers.Rootfs, Platform: "linux",
		ResolvConfPath: filepath.Join(c.RunDir, "resolv.conf"), HostnamePath: filepath.Join(c.RunDir, "hostname"),
		HostsPath: filepath.Join(c.RunDir, "hosts"), LogPath: logPath(c),
		RestartCount: s.RestartCount,
		HostConfig:   c.HostConfig, Config: c.Config, Mounts: mountPoints(c),
		GraphDriver:     &storage.DriverData{Name: c.Drivers.Rootfs, Data: graph(e.mach, c)},
		NetworkSettings: e.wires.Settings(c, s.Running, s.Pid),
	}
	if s.Running {
		out.ExecIDs = c.Execs()
	}
	out.State.Health = healthOf(c, &s)
	if c.HostConfig.LogConfig.Type != "json-file" {
		out.LogPath = ""
	}
	if s.StartedAt.IsZero() {
		// Made at the start.
		out.ResolvConfPath, out.HostnamePath, out.HostsPath, out.LogPath = "", "", "", ""
	}
	if size {
		rw, root := sizes(ctx, e, c)
		out.SizeRw, out.SizeRootFs = &rw, &root
	}
	return out, nil
}

func stateOf(s *record.State) *container.State {
	return &container.State{
		Status: s.Status(), Running: s.Running, Paused: s.Paused, Restarting: s.Restarting, OOMKilled: s.OOMKilled, Dead: s.Dead,
		Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: s.StartedAt.Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.Format(time.RFC3339Nano),
	}
}

// graph says where the root filesystem is and which rungs the container was made
// for.
func graph(m *machine.Machine, c *record.Container) map[string]string {
	d := c.Drivers
	data := map[string]string{"Isolation": d.Isolation, "Limits": d.Limits, "Wiring": d.Wiring, "Entering": d.Entering}
	if snaps, err := m.Snapshots(d.Rootfs, d.Isolation); err == nil && !c.View {
		if dir := snaps.Dir(c.ID); dir != "" {
			data["Dir"] = dir
		}
	}
	return data
}
