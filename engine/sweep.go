package engine

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"coracle/backends/isolate"
	"coracle/backends/limits"
	"coracle/engine/record"
	"coracle/engine/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// kill kills every process of a container and undoes what its isolation driver
// did to the host.
func (e *Engine) kill(ctx context.Context, iso isolate.Driver, group limits.Group, t isolate.Target) error {
	err := iso.Sweep(ctx, t)
	if group == nil {
		return err
	}
	// What the driver could not find, the group can: processes outside of the
	// container's PID namespace (--pid host), or with another root.
	if pids, ok, e := group.PIDs(); ok && (e != nil || len(pids) > 0) {
		err = errors.Join(err, group.Signal(syscall.SIGKILL))
	}
	return err
}

// sweep removes what a run of c that nobody watches any more has left on the
// host, and says in its state how it ended. The monitor's lock is held, by us.
func (e *Engine) sweep(ctx context.Context, c *record.Container, s *record.State) error {
	iso, err := e.mach.isolation(c.Drivers.Isolation)
	if err != nil {
		return err
	}
	lim, err := e.mach.limits(c.Drivers.Limits)
	if err != nil {
		return err
	}
	group, err := lim.Open(c.ID, c.HostConfig.CgroupParent)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		group = nil
	}
	t, err := e.target(c, s)
	if err != nil {
		return err
	}
	if err := e.kill(ctx, iso, group, t); err != nil {
		return err
	}
	if group != nil {
		if err := group.Remove(); err != nil {
			return err
		}
	}
	if c.PIDFile != "" && s.Pid != 0 {
		dropPIDFile(c.PIDFile, s.Pid)
	}
	if s.Running {
		s.ExitCode, s.FinishedAt = 137, time.Now().UTC()
	}
	s.Running, s.Paused, s.Pid, s.StartTime, s.Dirty = false, false, 0, 0, false
	return nil
}

// target names a container that is not ours, or not any more.
func (e *Engine) target(c *record.Container, s *record.State) (isolate.Target, error) {
	snaps, err := e.mach.snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return isolate.Target{}, err
	}
	t := isolate.Target{ID: c.ID, RunDir: c.RunDir, Spec: &specs.Spec{Root: &specs.Root{Path: rootDir(c, snaps)}, Linux: &specs.Linux{}}}
	if c.HostConfig.PidMode.IsHost() || !spec.Namespaced(c.Drivers.Isolation) {
		// No PID namespace of its own.
	} else {
		t.Spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}}
	}
	// A PID of another boot is another process's.
	if s.Boot == record.Boot() {
		t.PID, t.StartTime = s.Pid, s.StartTime
	}
	return t, nil
}

// settle reads c's state as it is: one that says running is believed only while
// there is a monitor. What a dead one left is swept; ErrNotExist says that the
// container was one to be removed, and is.
func (e *Engine) settle(ctx context.Context, c *record.Container) (record.State, error) {
	s, err := c.State()
	if err != nil || !s.Dirty && !s.Running {
		return s, err
	}
	if c.Alive() {
		return s, nil
	}
	// It may have ended between the two looks.
	if s, err = c.State(); err != nil || !s.Dirty && !s.Running {
		return s, err
	}
	lock, err := e.store.TryLock(c)
	if err == nil {
		defer lock.Release()
		var mon *record.Lock
		if mon, err = c.LockMonitor(); err == nil {
			defer mon.Release()
			if s, err = c.State(); err != nil {
				return s, err
			}
			return s, e.bury(ctx, c, &s)
		}
	}
	if errors.Is(err, record.ErrNotFound) {
		return s, err
	}
	// Someone else is at it.
	dead(&s)
	return s, nil
}

// bury sweeps a container under its locks and writes the state, or removes it.
func (e *Engine) bury(ctx context.Context, c *record.Container, s *record.State) error {
	if s.Dirty || s.Running {
		if err := e.sweep(ctx, c, s); err != nil {
			e.opt.Warn("clean up container " + c.ID[:12] + ": " + err.Error())
			dead(s)
			return nil
		}
	}
	if c.HostConfig.AutoRemove {
		if err := e.discard(ctx, c, true); err != nil {
			return err
		}
		return record.ErrNotFound
	}
	return c.SetState(*s, true)
}

// dead shows a state whose monitor is gone.
func dead(s *record.State) {
	if s.Running {
		s.Running, s.Paused, s.ExitCode = false, false, 137
	}
}

// discard deletes a container that nobody runs, with its anonymous volumes.
func (e *Engine) discard(ctx context.Context, c *record.Container, volumes bool) error {
	snaps, err := e.mach.snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return err
	}
	if err := e.store.Detach(c); err != nil {
		return err
	}
	if !c.View {
		if err := snaps.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	if volumes {
		if err := e.mach.removeVolumes(ctx, c); err != nil {
			return err
		}
	}
	return e.store.Delete(c)
}

// clean removes containers that someone was making, or removing, when killed.
func (e *Engine) clean(ctx context.Context, remains []string) {
	for _, name := range remains {
		c, lock, err := e.store.Remains(name)
		if err != nil {
			continue // someone's work
		}
		if err := e.cleanOne(ctx, c, strings.HasPrefix(name, ".tmp-")); err != nil {
			e.opt.Warn("clean up " + name + ": " + err.Error())
		}
		lock.Release()
	}
}

// cleanOne deletes what is left of c; its anonymous volumes only where nobody may
// have wanted to keep them.
func (e *Engine) cleanOne(ctx context.Context, c *record.Container, half bool) error {
	drivers := c.Drivers
	if drivers.Rootfs == "" {
		drivers = e.drivers() // its record was not written yet: nor was a snapshot
	}
	snaps, err := e.mach.snapshots(drivers.Rootfs, drivers.Isolation)
	if err != nil {
		return err
	}
	if err := snaps.Remove(ctx, c.ID); err != nil {
		return err
	}
	if half || c.HostConfig != nil && c.HostConfig.AutoRemove {
		if err := e.mach.removeVolumes(ctx, c); err != nil {
			return err
		}
	}
	return e.store.Delete(c)
}
