package engine

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"coracle/backends/isolate"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/engine/stream"

	"github.com/moby/moby/api/types/container"
)

// execGrace is how long Exec waits for output of a process that has ended, when
// its own children hold its pipes.
const execGrace = strayGrace / 4

// Exec runs one more process in a running container. Without any stream it is
// detached: it goes on after Exec has returned.
func (e *Engine) Exec(ctx context.Context, ref string, req container.ExecCreateRequest, s Streams) (code int, err error) {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return 125, err
	}
	if !state.Running {
		return 125, notRunning(c)
	}
	if state.Restarting {
		return 125, restarting(c)
	}
	if state.Paused {
		return 125, fail(Conflict, nil, "Container %s is paused, unpause the container before exec", ref)
	}
	if len(req.Cmd) == 0 {
		return 125, fail(Invalid, nil, "no exec command specified")
	}
	if req.WorkingDir != "" && !strings.HasPrefix(req.WorkingDir, "/") {
		return 125, fail(Invalid, nil, "the working directory '%s' is invalid, it needs to be an absolute path", req.WorkingDir)
	}
	if s.Stdin == nil && s.Stdout == nil && s.Stderr == nil {
		return 0, e.spawn(ctx, errand{ID: c.ID, Exec: &req})
	}
	if s.detachable(req.Tty) {
		return execApart(ctx, e, c, &req, s)
	}
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	known := begun(e, c, &req)
	code, err = e.enter(ctx, c, &state, &req, &Attended{Streams: s, Pipe: true}, func(error) {})
	known.ended(code, err)
	return code, err
}

// execDetached is the process that stays with a detached exec.
func (e *Engine) execDetached(ctx context.Context, what errand, report func(error)) int {
	c, state, err := e.find(ctx, what.ID)
	if err == nil && !state.Running {
		err = notRunning(c)
	}
	if err != nil {
		report(err)
		return 125
	}
	with, err := what.attended()
	if err != nil {
		report(err)
		return 125
	}
	reported := false
	known := begun(e, c, what.Exec)
	with.left = known.left
	code, err := e.enter(ctx, c, &state, what.Exec, with, func(err error) {
		reported = true
		report(err)
	})
	known.ended(code, err)
	if err != nil && !reported {
		report(err)
	}
	return code
}

// enter starts the process, moves its streams and waits for it.
func (e *Engine) enter(ctx context.Context, c *record.Container, state *record.State, req *container.ExecCreateRequest, with *Attended, started func(error)) (int, error) {
	s := with.Streams
	iso, err := e.mach.Isolation(c.Drivers.Isolation)
	if err != nil {
		return 125, err
	}
	entry, err := entryOf(e.mach, c, state, req)
	if err != nil {
		return 125, err
	}
	pump, err := stream.New(stream.Options{Tty: req.Tty, Stdin: s.Stdin != nil || with.guest != nil})
	if err != nil {
		return 125, err
	}
	if sink := with.sink(); sink != nil {
		pump.Add(sink)
	}
	entry.IO.Stdin, entry.IO.Stdout, entry.IO.Stderr = pump.Child()
	entry.IO.Terminal = req.Tty
	if s.Size != nil && req.Tty {
		entry.IO.Rows, entry.IO.Cols = s.Size()
	} else if req.ConsoleSize != nil {
		entry.IO.Rows, entry.IO.Cols = uint16(req.ConsoleSize[0]), uint16(req.ConsoleSize[1])
	}
	t, err := e.sweeper.Target(c, state)
	if err != nil {
		pump.Abort()
		return 125, err
	}
	proc, err := iso.Enter(ctx, t, entry)
	if err != nil {
		pump.Abort()
		return 125, execFailed(c, req.Cmd, err)
	}
	for _, w := range proc.Warnings() {
		e.opt.Warn(w)
	}
	started(nil)
	pump.Started(proc.Console())
	stop := context.AfterFunc(ctx, func() { proc.Signal(syscall.SIGKILL) })
	defer stop()
	done := make(chan struct{})
	go forward(s, req.Tty, pump.Resize, func(n syscall.Signal) { proc.Signal(n) }, done)
	if s.Stdin != nil {
		go pump.Feed(s.Stdin)
	}
	with.heed(pump, proc.Signal)
	ws, err := proc.Wait()
	close(done)
	pump.Finish(execGrace)
	if err != nil {
		return 125, err
	}
	code := ws.ExitStatus()
	if ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	if with.guest != nil {
		with.guest.Farewell(code)
	}
	return code, nil
}

// entryOf describes the process to the isolation driver.
func entryOf(m *machine.Machine, c *record.Container, state *record.State, req *container.ExecCreateRequest) (*isolate.Entry, error) {
	p, err := spec.Process(c, req)
	if err != nil {
		return nil, invalid(err)
	}
	filter, err := spec.Filter(c, m.Report(), p, req.Privileged)
	if err != nil {
		return nil, invalid(err)
	}
	if state.NoDevices && !req.Privileged {
		spec.HoldDevices(c, p)
	}
	entry := &isolate.Entry{Process: p, User: c.Config.User, GroupAdd: c.HostConfig.GroupAdd, Seccomp: early(filter)}
	if req.User != "" {
		entry.User = req.User
	}
	d, err := m.Limits(c.Drivers.Limits)
	if err != nil {
		return nil, err
	}
	group, err := d.Open(c.ID, c.HostConfig.CgroupParent)
	switch {
	case errors.Is(err, os.ErrNotExist): // it is just ending
	case err != nil:
		return nil, err
	default:
		entry.Doors = func() ([]int, error) { return doors(group), nil }
		entry.Joined = group.Add
	}
	return entry, nil
}

// execFailed is Docker's error of an exec that could not be.
func execFailed(c *record.Container, args []string, err error) error {
	var exec *isolate.ExecError
	switch {
	case errors.As(err, &exec):
		return fail(Invalid, err, "OCI runtime exec failed: %s", execText(args, exec))
	case errors.Is(err, os.ErrProcessDone):
		return fail(Conflict, err, "container %s is not running", c.ID)
	}
	return fail(Internal, err, "exec failed: %v", err)
}

// forward passes the caller's signals on to a process that another holds, the
// change of the terminal's size as its new size.
func forward(s Streams, tty bool, resize func(rows, cols uint16), signal func(syscall.Signal), done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case sig, ok := <-s.Signals:
			if !ok {
				return
			}
			n, isSignal := sig.(syscall.Signal)
			switch {
			case !isSignal, n == syscall.SIGCHLD, n == syscall.SIGPIPE, n == syscall.SIGURG:
			case n == syscall.SIGWINCH && tty:
				if s.Size != nil {
					resize(s.Size())
				}
			default:
				signal(n)
			}
		}
	}
}
