package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"coracle/backends/isolate"
	"coracle/backends/limits"
	"coracle/engine/keep"
	"coracle/engine/logs"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/remains"
	"coracle/engine/spec"
	"coracle/engine/stream"
	"coracle/engine/volume"
	"coracle/engine/wiring"
	"coracle/fs/snapshot"
)

// strayGrace is how long output may be silent, after every process of a
// container was killed, before a stranger who holds its pipes is not waited for.
const strayGrace = time.Second

// life is one run of a container, seen from its monitor: everything that is made
// for it on the host, in the order in which it is unmade.
type life struct {
	e     *Engine
	c     *record.Container
	mon   *record.Lock
	state record.State
	// with is who runs it in the foreground; nobody but zero values without.
	with *Attended

	snaps snapshot.Driver
	iso   isolate.Driver
	group limits.Group
	// grouped waits until group is made.
	grouped  func() error
	groupErr error
	// noDevices: nothing but a missing capability keeps the container from the
	// host's devices.
	noDevices bool

	// wired waits until the wiring is begun; nil where there is none.
	wired func() (*wiring.Run, error)

	plan   *spec.Plan
	shares *shares
	bundle *isolate.Bundle
	log    logs.Sink
	// mounted: the volumes' events have said so.
	mounted bool
	pump    *stream.Pump
	server  *stream.Server

	// mu guards state and what follows against the orders that come by the
	// socket: see orders.go.
	mu     sync.Mutex
	proc   isolate.Process
	checks *checks
	again  keep.Restarter
	last   bool          // no run follows this one
	kept   bool          // nor is the container removed: it is started anew
	halted chan struct{} // closed with last
}

// begin takes the monitor's lock, builds everything and starts the first
// process. The object lock is held by the caller, or by the process that waits
// for the caller. When it fails nothing is left but the state that says why.
func (e *Engine) begin(ctx context.Context, c *record.Container, with *Attended) (*life, error) {
	l := &life{e: e, c: c, with: with, halted: make(chan struct{})}
	var err error
	if l.mon, err = c.LockMonitor(); err != nil {
		if errors.Is(err, record.ErrBusy) {
			return nil, fail(NotModified, err, "container %s is already running", c.ID)
		}
		return nil, err
	}
	if l.state, err = c.State(); err != nil {
		l.mon.Release()
		return nil, err
	}
	if l.state.Dirty {
		if err := e.sweeper.Sweep(ctx, c, &l.state); err != nil {
			l.mon.Release()
			return nil, fmt.Errorf("clean up after the last run: %w", err)
		}
	}
	// From here on a killed monitor leaves something to sweep.
	l.state = record.State{
		Dirty: true, Boot: record.Boot(), Monitor: os.Getpid(), MonitorStart: record.StartTime(os.Getpid()),
		StartedAt: l.state.StartedAt, FinishedAt: l.state.FinishedAt, ExitCode: l.state.ExitCode,
	}
	if err := c.SetState(l.state, false); err != nil {
		l.mon.Release()
		return nil, err
	}
	if err := l.start(ctx); err != nil {
		l.failed(err)
		return nil, err
	}
	return l, nil
}

// failed undoes a start that failed and keeps the reason.
func (l *life) failed(err error) {
	ctx := context.Background()
	if l.pump != nil {
		l.pump.Abort()
	}
	if l.grouped != nil {
		l.grouped() // it may still be being made
	}
	l.unwire()
	tellVolumes(l, false)
	if l.log != nil {
		l.log.Close()
	}
	code := exitCode(err)
	text := startError(append([]string{l.c.Path}, l.c.Args...), err).Error()
	if e := l.e.sweeper.Sweep(ctx, l.c, &l.state); e != nil {
		l.e.opt.Warn(fmt.Sprintf("clean up container %s: %v", l.c.ID[:12], e))
	}
	l.mu.Lock()
	l.state.Running, l.state.Restarting, l.state.Pid, l.state.ExitCode, l.state.Error = false, false, 0, code, text
	l.mu.Unlock()
	l.c.SetState(l.state, !l.c.HostConfig.AutoRemove)
	happened(l.e, l.c, "die", "exitCode", strconv.Itoa(code), "execDuration", "0")
	l.mon.Release()
	if l.server != nil {
		l.server.Close(code)
	}
}

// start is one run's beginning.
func (l *life) start(ctx context.Context) error {
	l.noDevices = false
	var err error
	if l.shares, err = share(ctx, l.e, l.c); err != nil {
		return err
	}
	defer l.shares.close()
	if err := l.describe(); err != nil {
		return err
	}
	l.wire(ctx)
	if err := l.limit(); err != nil {
		return err
	}
	if err := l.assemble(); err != nil {
		return err
	}
	sink := l.with.sink()
	if err := l.streams(sink); err != nil {
		return err
	}
	b := l.bundle
	b.IO.Stdin, b.IO.Stdout, b.IO.Stderr = l.pump.Child()
	b.IO.Terminal = l.c.Config.Tty
	if size := sizeOf(l.c, l.with.Streams); size != nil {
		b.IO.Rows, b.IO.Cols = size()
	} else {
		b.IO.Rows, b.IO.Cols = uint16(l.c.HostConfig.ConsoleSize[0]), uint16(l.c.HostConfig.ConsoleSize[1])
	}
	proc, err := l.iso.Start(ctx, b)
	if err != nil {
		return err
	}
	for _, w := range proc.Warnings() {
		l.e.opt.Warn(w)
	}
	l.pump.Started(proc.Console())
	return l.announce(proc, sink)
}

// describe finds the drivers and makes the spec.
func (l *life) describe() (err error) {
	c, m := l.c, l.e.mach
	if l.snaps, err = m.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation); err != nil {
		return err
	}
	if l.iso, err = m.Isolation(c.Drivers.Isolation); err != nil {
		return err
	}
	links, err := l.e.wires.LinkEnv(c)
	if err != nil {
		return wireError(err)
	}
	l.plan, err = spec.Build(spec.Input{
		C: c, Report: l.e.report, Root: machine.RootDir(c, l.snaps), SingleID: m.SingleID(c.Drivers.Isolation),
		Groups: strings.HasPrefix(c.Drivers.Limits, "cgroup") && machine.ShowsGroups(),
		Images: imageViews(c, l.snaps), Join: l.shares.paths, Shm: l.shares.shm, Names: l.shares.names,
		OwnNet: wiring.Own(c), Env: links,
	})
	if err != nil {
		return err
	}
	if err := l.foreign(); err != nil {
		return err
	}
	p := l.plan
	if l.with.Amend != nil {
		if err := l.with.Amend(p.Spec, c.RunDir); err != nil {
			return err
		}
	}
	l.bundle = &isolate.Bundle{
		ID: c.ID, Spec: p.Spec, RunDir: c.RunDir, Init: p.Init, Agent: c.Drivers.Agent(),
		Seccomp: early(p.Seccomp), User: p.User, GroupAdd: p.GroupAdd, Loopback: p.Loopback,
	}
	return nil
}

func (l *life) volumes() *volume.Store { return l.e.mach.Volumes(l.e.store, l.c.Drivers) }

// assemble makes what the spec names on the host.
func (l *life) assemble() error {
	c := l.c
	if err := l.e.mach.MakeShm(c); err != nil {
		return err
	}
	if _, err := volume.Sources(c.Mounts); err != nil {
		return err
	}
	if err := volume.Propagates(c.Mounts); err != nil {
		return invalid(err)
	}
	if err := l.volumes().Mount(c, !spec.UserNS(c.Drivers.Isolation)); err != nil {
		return err
	}
	tellVolumes(l, true)
	// At each start, because the host's own may have changed.
	if err := wiring.Files(c); err != nil {
		return err
	}
	mounts, err := machine.RootMounts(c, l.snaps)
	if err != nil {
		return fmt.Errorf("root filesystem (%s): %w", c.Drivers.Rootfs, err)
	}
	l.bundle.RootMounts = machine.Volatile(c, l.e.Report(), mounts)
	if len(mounts) > 0 {
		if err := os.Mkdir(l.plan.Spec.Root.Path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// early runs f at once, beside what follows, and waits for it where it is needed.
func early(f func() ([]byte, error)) func() ([]byte, error) {
	var data []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		data, err = f()
	}()
	return func() ([]byte, error) {
		<-done
		return data, err
	}
}

// limit makes the container's group, beside what follows: it is needed when the
// first process is forked. The rung without groups is done at once, because its
// limits are part of the spec.
func (l *life) limit() error {
	d, err := l.e.mach.Limits(l.c.Drivers.Limits)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	work := func() { done <- l.makeGroup(d) }
	var once sync.Once
	l.grouped = func() error {
		once.Do(func() { l.groupErr = <-done })
		return l.groupErr
	}
	l.bundle.Doors = func() ([]int, error) {
		if err := l.grouped(); err != nil {
			return nil, err
		}
		return doors(l.group), nil
	}
	l.bundle.Joined = func(pid int) error { return l.group.Add(pid) }
	if d.Name() != "rlimits" {
		go work()
		return nil
	}
	work()
	return l.grouped()
}

// doors lead into a group, where it has some that can be opened.
func doors(group limits.Group) []int {
	if g, ok := group.(limits.Doors); ok {
		if fds, err := g.Doors(); err == nil {
			return fds
		}
	}
	return nil
}

func (l *life) makeGroup(d limits.Driver) error {
	group, not, err := d.Create(l.c.ID, l.c.HostConfig.CgroupParent, l.plan.Spec.Linux.Resources)
	if err != nil {
		return fmt.Errorf("limits (%s): %w", d.Name(), err)
	}
	l.group = group
	if d.Name() == "rlimits" {
		// Only this one has them, and only it is not made beside the start.
		p := l.plan.Spec.Process
		p.Rlimits = append(group.Rlimits(), p.Rlimits...)
		l.bundle.Nice = group.Nice()
	}
	for _, n := range not {
		if n.Limit == "devices" {
			l.noDevices = true
			if spec.HoldDevices(l.c, l.plan.Spec.Process) {
				continue
			}
		}
		text := n.Limit + " cannot be held: " + n.Why
		if l.e.opt.Strict {
			return fail(Unavailable, nil, "%s", text)
		}
		l.e.opt.Warn(text)
	}
	return nil
}

// streams opens the log and the pipes.
func (l *life) streams(sink *stream.Sink) (err error) {
	c := l.c
	opt := stream.Options{Tty: c.Config.Tty, Stdin: c.Config.OpenStdin}
	if c.HostConfig.LogConfig.Type != "none" && !l.with.NoLog {
		// A log that cannot be opened (a full disk) does not keep the
		// container from running.
		if l.log, err = logs.Start(logPath(c), c.HostConfig.LogConfig, logInfo(c), l.e.opt.Warn); err != nil {
			l.e.opt.Warn("no log: " + err.Error())
			l.log = nil
		} else if l.log != nil {
			opt.Log, opt.ErrLog = l.log.Stdout(), l.log.Stderr()
		}
	}
	pump, err := stream.New(opt)
	if err != nil {
		return err
	}
	if sink != nil {
		pump.Add(sink)
	}
	l.mu.Lock()
	l.pump = pump
	l.mu.Unlock()
	return nil
}

// announce makes it known that the container runs.
func (l *life) announce(proc isolate.Process, sink *stream.Sink) error {
	l.mu.Lock()
	l.proc = proc
	s := &l.state
	s.Running, s.Restarting, s.Pid, s.StartTime, s.StartedAt = true, false, proc.PID(), proc.StartTime(), time.Now().UTC()
	s.ExitCode, s.Error, s.OOMKilled, s.NoDevices = 0, "", false, l.noDevices
	l.checks = newChecks(l)
	err := l.c.SetState(*s, false)
	l.checks.begin()
	if l.last {
		proc.Signal(syscall.SIGKILL) // stopped while it was started again
	}
	l.mu.Unlock()
	if err == nil {
		err = l.running(proc.PID())
	}
	switch {
	case err != nil:
	case l.server == nil:
		l.server, err = stream.Serve(l.c.RunDir, l.pump, l)
		l.greet(sink)
	default:
		l.server.Join(l.pump)
	}
	if err == nil && l.c.PIDFile != "" {
		err = record.WriteFile(l.c.PIDFile, []byte(strconv.Itoa(s.Pid)+"\n"), 0o644, false)
	}
	if err == nil && l.with.Started != nil {
		l.with.Started(s.Pid)
	}
	if err != nil {
		proc.Signal(syscall.SIGKILL)
		proc.Wait()
		l.pump.Finish(strayGrace)
		l.pump = nil
		return err
	}
	happened(l.e, l.c, "start")
	return nil
}

// wait waits for the container's end, the ends of all its runs, cleans up after
// each and returns the last exit code.
func (l *life) wait() int {
	for {
		ws, err := l.proc.Wait()
		code := 255
		switch {
		case err != nil:
		case ws.Signaled():
			code = 128 + int(ws.Signal())
		default:
			code = ws.ExitStatus()
		}
		pause, again := l.finish(code)
		if !again {
			return code
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.halted:
			t.Stop()
			l.mu.Lock()
			l.state.Running, l.state.Restarting = false, false
			l.mu.Unlock()
			l.conclude(code, nil)
			return code
		}
		if err := l.start(context.Background()); err != nil {
			l.failed(err)
			return code
		}
	}
}

// finish cleans up after a run, and tells whether there will be another.
func (l *life) finish(code int) (pause time.Duration, again bool) {
	c, s := l.c, &l.state
	l.mu.Lock()
	l.checks.end()
	if h := l.checks.now(); h != nil {
		s.Health = h
	}
	l.mu.Unlock()
	oom := l.group.OOMKills() > 0
	unwired := make(chan error, 1)
	go func() { unwired <- l.unwire() }() // the kernel takes its time
	err := l.e.sweeper.Kill(context.Background(), l.iso, l.group, l.target(true))
	l.checks.wait()
	l.pump.Finish(strayGrace)
	dropped := int64(0)
	if l.log != nil {
		if dropped, _ = l.log.Close(); dropped > 0 {
			l.e.opt.Warn(fmt.Sprintf("container %s: %d bytes of its log could not be written", c.ID[:12], dropped))
		}
		l.log = nil
	}
	err = errors.Join(err, <-unwired)
	if err == nil {
		err = errors.Join(l.group.Remove(), machine.DropShm(c), l.volumes().Unmount(c))
	}
	tellVolumes(l, false)
	if err != nil {
		l.e.opt.Warn(fmt.Sprintf("clean up container %s: %v", c.ID[:12], err))
	}
	if c.PIDFile != "" {
		remains.DropPIDFile(c.PIDFile, s.Pid)
	}
	l.refresh()
	if oom {
		happened(l.e, c, "oom")
	}
	now := time.Now().UTC()
	ran := now.Sub(s.StartedAt)
	l.mu.Lock()
	s.Running, s.Paused, s.Pid, s.StartTime, s.Dirty = false, false, 0, 0, err != nil
	s.OOMKilled, s.ExitCode, s.FinishedAt, s.LogDropped = oom, code, now, dropped
	policy := c.HostConfig.RestartPolicy
	pause, again = l.again.Again(policy, code, ran, l.last || l.with.NoRestart || err != nil || policy.IsUnlessStopped() && s.Stopped)
	if again {
		s.Running, s.Restarting, s.RestartCount = true, true, l.again.Count
		c.SetState(*s, false)
	}
	l.mu.Unlock()
	died := []string{"exitCode", strconv.Itoa(code), "execDuration", strconv.Itoa(int(ran.Seconds()))}
	if again {
		happened(l.e, c, "die", died...)
		l.server.Part(code)
		return pause, true
	}
	l.conclude(code, err, died...)
	return 0, false
}

// refresh reads again what of the container may have changed while it ran.
func (l *life) refresh() {
	if c, err := l.e.store.Load(l.c.ID); err == nil {
		l.c.Name, l.c.HostConfig = c.Name, c.HostConfig
	}
}

// conclude is the end of a monitor. died, where set, says how the container ended
// just now; unclean, that not all could be cleaned up.
func (l *life) conclude(code int, unclean error, died ...string) {
	c, ctx := l.c, context.Background()
	stays := !c.HostConfig.AutoRemove || l.kept
	if stays {
		if err := c.SetState(l.state, false); err != nil {
			l.e.opt.Warn(fmt.Sprintf("container %s: %v", c.ID[:12], err))
		}
	}
	if died != nil {
		happened(l.e, c, "die", died...)
	}
	if !stays && unclean == nil {
		if err := l.e.sweeper.Discard(ctx, c, true); err != nil {
			l.e.opt.Warn(fmt.Sprintf("remove container %s: %v", c.ID[:12], err))
		}
	}
	// The last word: who waits by the socket gets the exit code, and who waits
	// for the lock finds the state written.
	l.mon.Release()
	l.server.Close(code)
	if stays {
		// A power cut from now on leaves the exit code; nobody waits for the disk.
		// It may be removed already.
		_ = c.SyncState()
	}
}

// target names the container for its isolation driver. With gone, its first
// process was waited for.
func (l *life) target(gone bool) isolate.Target {
	t := isolate.Target{ID: l.c.ID, Agent: l.bundle.Agent, Spec: l.bundle.Spec, RootMounts: l.bundle.RootMounts, RunDir: l.c.RunDir}
	if !gone {
		t.PID, t.StartTime = l.state.Pid, l.state.StartTime
	}
	return t
}
