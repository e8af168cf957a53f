package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coracle/engine/record"
	"coracle/engine/wiring"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// entry is a container with its settled state.
type listed struct {
	c *record.Container
	s record.State
}

// all lists every container, newest first, and cleans up what killed processes
// left behind.
func (e *Engine) all(ctx context.Context) ([]listed, error) {
	ids, remains, err := e.store.IDs()
	if err != nil {
		return nil, err
	}
	if len(remains) > 0 {
		e.sweeper.Clean(ctx, remains)
	}
	e.store.Orphans()
	found := make([]listed, len(ids))
	// Each by itself; most of the time goes into system calls and JSON.
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), 1+len(ids)/16) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(ids); i = int(next.Add(1)) - 1 {
				found[i] = settled(ctx, e, ids[i])
			}
		})
	}
	workers.Wait()
	list := slices.DeleteFunc(found, func(l listed) bool { return l.c == nil })
	slices.SortFunc(list, func(a, b listed) int { return b.c.Created.Compare(a.c.Created) })
	return list, nil
}

// settled reads one container, settled; none where it is gone meanwhile.
func settled(ctx context.Context, e *Engine, id string) (l listed) {
	c, err := e.store.Load(id)
	if err != nil {
		if _, gone := e.store.Find(id); gone == nil {
			e.opt.Warn(fmt.Sprintf("container %s: %v", id[:12], err))
		}
		return l
	}
	s, err := e.sweeper.Settle(ctx, c)
	if err != nil {
		return l
	}
	return listed{c, s}
}

// List lists containers, newest first.
func (e *Engine) List(ctx context.Context, opt ListOptions) ([]container.Summary, error) {
	f, err := newFilter(opt.Filters)
	if err != nil {
		return nil, err
	}
	list, err := e.all(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.resolve(ctx, e, list); err != nil {
		return nil, err
	}
	// Docker: a filter by state shows others than the running ones too.
	every := opt.All || opt.Last > 0 || f.has("status") || f.has("exited")
	out := []container.Summary{}
	for _, l := range list {
		if opt.Last > 0 && len(out) >= opt.Last {
			break
		}
		if !every && !l.s.Running || !f.match(l) {
			continue
		}
		out = append(out, summary(ctx, e, l, opt.Size))
	}
	return out, nil
}

func summary(ctx context.Context, e *Engine, l listed, size bool) container.Summary {
	c := l.c
	s := container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: c.Config.Image, ImageID: c.ImageID,
		Command: commandText(c), Created: c.Created.Unix(),
		Ports: wiring.PortList(c, l.s.Running), Labels: c.Config.Labels, State: l.s.Status(), Status: statusText(&l.s, time.Now()),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: e.wires.Networks(c, l.s.Running)},
		Mounts:          mountPoints(c),
	}
	s.HostConfig.NetworkMode = string(c.HostConfig.NetworkMode)
	if size {
		s.SizeRw, s.SizeRootFs = sizes(ctx, e, c)
	}
	return s
}

// commandText is how Docker shows a command: an argument with a space stands in
// single quotes, whatever else is in it.
func commandText(c *record.Container) string {
	text := c.Path
	for _, arg := range c.Args {
		if strings.Contains(arg, " ") {
			arg = "'" + arg + "'"
		}
		text += " " + arg
	}
	return text
}

// sizes are what the container wrote, and that with its image.
func sizes(ctx context.Context, e *Engine, c *record.Container) (rw, root int64) {
	if snaps, err := e.mach.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation); err == nil && !c.View {
		rw, _ = snaps.Usage(c.ID)
	}
	if img, err := e.images.Get(ctx, c.ImageID, ""); err == nil {
		root = img.Size
	}
	return rw, rw + root
}

func mountPoints(c *record.Container) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range c.Mounts {
		p := m.MountPoint
		if p.Type == mount.TypeTmpfs {
			p.Source = ""
		}
		out = append(out, p)
	}
	return out
}

// statusText is ps's "Up 3 minutes".
func statusText(s *record.State, now time.Time) string {
	switch s.Status() {
	case container.StateDead:
		return "Dead"
	case container.StateCreated:
		return "Created"
	case container.StateExited:
		return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case container.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case container.StatePaused:
		return fmt.Sprintf("Up %s (Paused)", units.HumanDuration(now.Sub(s.StartedAt)))
	}
	up := "Up " + units.HumanDuration(now.Sub(s.StartedAt))
	switch {
	case s.Health == nil:
		return up
	case s.Health.Status == container.Starting:
		return up + " (health: starting)"
	}
	return up + " (" + string(s.Health.Status) + ")"
}
