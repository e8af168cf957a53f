// Package remains deals with what runs of containers leave on the host: after
// their end, and after their monitor, or a command, was killed.
package remains

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"coracle/backends/isolate"
	"coracle/backends/limits"
	"coracle/engine/events"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/engine/wiring"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Sweeper cleans up.
type Sweeper struct {
	Store   *record.Store
	Machine *machine.Machine
	Wiring  *wiring.Manager
	Warn    func(string)
	// Happened writes an event; nil: none are.
	Happened func(c *record.Container, what events.Action, more ...string)
	// Dropped tells of a volume that has gone with its container; nil: of none.
	Dropped func(volume string)
	// Fallback are the rungs of a draft that was killed before it said which.
	Fallback record.Drivers
}

// Kill kills every process of a container and undoes what its isolation driver
// did to the host.
func (w *Sweeper) Kill(ctx context.Context, iso isolate.Driver, group limits.Group, t isolate.Target) error {
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

// Sweep removes what a run of c that nobody watches any more has left on the
// host, and says in its state how it ended. The monitor's lock is held, by us.
func (w *Sweeper) Sweep(ctx context.Context, c *record.Container, s *record.State) error {
	iso, err := w.Machine.Isolation(c.Drivers.Isolation)
	if err != nil {
		return err
	}
	lim, err := w.Machine.Limits(c.Drivers.Limits)
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
	t, err := w.Target(c, s)
	if err != nil {
		return err
	}
	if group != nil {
		// A frozen process does not even die (v1's freezer).
		_ = group.Freeze(false)
	}
	if err := w.Kill(ctx, iso, group, t); err != nil {
		return err
	}
	if err := w.Wiring.Sweep(ctx, c); err != nil {
		return err
	}
	if group != nil {
		if err := group.Remove(); err != nil {
			return err
		}
	}
	if err := errors.Join(machine.DropShm(c), w.Machine.Volumes(w.Store, c.Drivers).Unmount(c)); err != nil {
		return err
	}
	if c.PIDFile != "" && s.Pid != 0 {
		DropPIDFile(c.PIDFile, s.Pid)
	}
	if s.Running && !s.Restarting {
		s.ExitCode, s.FinishedAt = lost(s), time.Now().UTC()
		w.happened(c, "die", "exitCode", strconv.Itoa(s.ExitCode), "execDuration", strconv.Itoa(int(s.FinishedAt.Sub(s.StartedAt).Seconds())))
	}
	s.Running, s.Restarting, s.Paused, s.Pid, s.StartTime, s.Dirty = false, false, false, 0, 0, false
	return nil
}

// lost is the exit code of a container whose own was not seen: it was killed with
// its monitor, or the machine went down, for which Docker has 255.
func lost(s *record.State) int {
	if s.Boot != record.Boot() {
		return 255
	}
	return 137
}

func (w *Sweeper) happened(c *record.Container, what events.Action, more ...string) {
	if w.Happened != nil {
		w.Happened(c, what, more...)
	}
}

// Target names a container that is not ours, or not any more.
func (w *Sweeper) Target(c *record.Container, s *record.State) (isolate.Target, error) {
	snaps, err := w.Machine.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return isolate.Target{}, err
	}
	t := isolate.Target{ID: c.ID, Agent: c.Drivers.Agent(), RunDir: c.RunDir, Spec: &specs.Spec{Root: &specs.Root{Path: machine.RootDir(c, snaps)}, Linux: &specs.Linux{}}}
	if !c.HostConfig.PidMode.IsPrivate() || !spec.Namespaced(c.Drivers.Isolation) {
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

// Settle reads c's state as it is: one that says running is believed only while
// there is a monitor. What a dead one left is swept; ErrNotExist says that the
// container was one to be removed, and is.
func (w *Sweeper) Settle(ctx context.Context, c *record.Container) (record.State, error) {
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
	lock, err := w.Store.TryLock(c)
	if err == nil {
		defer lock.Release()
		var mon *record.Lock
		if mon, err = c.LockMonitor(); err == nil {
			defer mon.Release()
			if s, err = c.State(); err != nil {
				return s, err
			}
			return s, w.Bury(ctx, c, &s)
		}
	}
	if errors.Is(err, record.ErrNotFound) {
		return s, err
	}
	// Someone else is at it.
	dead(&s)
	return s, nil
}

// Bury sweeps a container under its locks and writes the state, or removes it.
func (w *Sweeper) Bury(ctx context.Context, c *record.Container, s *record.State) error {
	if s.Dirty || s.Running {
		if err := w.Sweep(ctx, c, s); err != nil {
			w.Warn("clean up container " + c.ID[:12] + ": " + err.Error())
			dead(s)
			return nil
		}
	}
	if c.HostConfig.AutoRemove {
		if err := w.Discard(ctx, c, true); err != nil {
			return err
		}
		return record.ErrNotFound
	}
	return c.SetState(*s, true)
}

// dead shows a state whose monitor is gone.
func dead(s *record.State) {
	if s.Running && !s.Restarting {
		s.ExitCode = lost(s)
	}
	s.Running, s.Restarting, s.Paused = false, false, false
}

// DropPIDFile deletes a PID file if it is still that of pid.
func DropPIDFile(path string, pid int) {
	data, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(data)) == strconv.Itoa(pid) {
		os.Remove(path)
	}
}

// Discard deletes a container that nobody runs, with its anonymous volumes. What
// it has is deleted at once, because a filesystem may wait for the disk at every
// file (mounted with discard, it does); its record, which names the rest, last.
func (w *Sweeper) Discard(ctx context.Context, c *record.Container, volumes bool) error {
	snaps, err := w.Machine.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return err
	}
	if err := w.Store.Detach(c); err != nil {
		return err
	}
	var root, run error
	var beside sync.WaitGroup
	if !c.View {
		beside.Go(func() { root = snaps.Remove(ctx, c.ID) })
	}
	beside.Go(func() { run = w.Store.DeleteRun(c) })
	if volumes {
		err = w.release(ctx, c)
	}
	beside.Wait()
	if err := errors.Join(root, err, run); err != nil {
		return err
	}
	if err := w.Store.Delete(c); err != nil {
		return err
	}
	w.happened(c, "destroy")
	return nil
}

// Clean removes containers that someone was making, or removing, when killed.
func (w *Sweeper) Clean(ctx context.Context, remains []string) {
	for _, name := range remains {
		c, lock, err := w.Store.Remains(name)
		if err != nil {
			continue // someone's work
		}
		if err := w.CleanOne(ctx, c, strings.HasPrefix(name, ".tmp-")); err != nil {
			w.Warn("clean up " + name + ": " + err.Error())
		}
		lock.Release()
	}
}

// CleanOne deletes what is left of c; its anonymous volumes only where nobody may
// have wanted to keep them.
func (w *Sweeper) CleanOne(ctx context.Context, c *record.Container, half bool) error {
	drivers := c.Drivers
	if drivers.Rootfs == "" {
		drivers = w.Fallback // its record was not written yet: nor was a snapshot
	}
	snaps, err := w.Machine.Snapshots(drivers.Rootfs, drivers.Isolation)
	if err != nil {
		return err
	}
	if err := snaps.Remove(ctx, c.ID); err != nil {
		return err
	}
	if half || c.HostConfig != nil && c.HostConfig.AutoRemove {
		if err := w.release(ctx, c); err != nil {
			return err
		}
	}
	return w.Store.Delete(c)
}

// release deletes c's anonymous volumes.
func (w *Sweeper) release(ctx context.Context, c *record.Container) error {
	gone, err := w.Machine.Volumes(w.Store, c.Drivers).Release(ctx, c)
	if w.Dropped != nil {
		for _, name := range gone {
			w.Dropped(name)
		}
	}
	return err
}
