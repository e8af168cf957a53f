package engine

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/engine/record"
	"coracle/engine/remains"
	"coracle/engine/stream"

	"github.com/moby/sys/signal"
)

const defaultGrace = 10 * time.Second

// parseSignal reads a signal's name, with or without SIG, or its number.
func parseSignal(s string) (syscall.Signal, error) {
	n, err := signal.ParseSignal(s)
	if err == nil && (n <= 0 || n > 64) {
		err = errors.New("out of range")
	}
	if err != nil {
		return 0, fail(Invalid, err, "invalid signal: %s", s)
	}
	return n, nil
}

// stopSettings are a container's own stop signal and time; negative: no bound.
func stopSettings(c *record.Container) (syscall.Signal, time.Duration) {
	sig, grace := syscall.SIGTERM, defaultGrace
	if s, err := parseSignal(c.Config.StopSignal); err == nil {
		sig = s
	}
	if t := c.Config.StopTimeout; t != nil {
		grace = time.Duration(*t) * time.Second
	}
	return sig, grace
}

// Stop ends a container: signal ("" for its own), then SIGKILL after timeout
// seconds (nil: its own or 10; negative: never).
func (e *Engine) Stop(ctx context.Context, ref, signal string, timeout *int) error {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	if !state.Running {
		return fail(NotModified, nil, "container %s is already stopped", c.ID)
	}
	sig, grace, err := stopWith(c, signal, timeout)
	if err != nil {
		return err
	}
	if err := e.end(ctx, c, &state, stream.Order{Signal: sig}, grace); err != nil {
		return err
	}
	happened(e, c, "stop")
	return nil
}

// stopWith is how c is stopped by one who asks for signal and timeout.
func stopWith(c *record.Container, signal string, timeout *int) (sig syscall.Signal, grace time.Duration, err error) {
	sig, grace = stopSettings(c)
	if signal != "" {
		if sig, err = parseSignal(signal); err != nil {
			return sig, grace, err
		}
	}
	if timeout != nil {
		grace = time.Duration(*timeout) * time.Second
	}
	return sig, grace, nil
}

// end signals a running container and waits until its monitor is gone, and it
// with it.
func (e *Engine) end(ctx context.Context, c *record.Container, s *record.State, o stream.Order, grace time.Duration) error {
	replaced, err := insist(ctx, c, s, o, grace)
	var unsent *unsentError
	switch {
	case errors.As(err, &unsent):
		return fail(Internal, unsent.err, "cannot stop container: %s: %v", c.ID, unsent.err)
	case err != nil || replaced:
		return err
	}
	return ended(ctx, e.sweeper, c)
}

// unsentError says that a signal could not be sent.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }

// insist sends an order until somebody has heard it, SIGKILL after grace (negative:
// never), and waits until the monitor is gone. replaced: another has come meanwhile.
func insist(ctx context.Context, c *record.Container, s *record.State, o stream.Order, grace time.Duration) (replaced bool, err error) {
	gone := awaiting(c)
	var late <-chan time.Time
	if grace >= 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		late = t.C
	}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for heard := false; ; {
		// Who was just starting, or took the place of the monitor that we knew, has
		// not heard it.
		if !heard {
			if heard, err = sendSignal(c, s, o); err != nil {
				return false, &unsentError{err}
			}
		}
		select {
		case err := <-gone:
			return false, err
		case <-ctx.Done():
			return false, ctx.Err()
		case <-late:
			late, o.Signal, heard = nil, syscall.SIGKILL, false
		case <-look.C:
			if heard && succeeded(c, s) {
				return true, nil
			}
		}
	}
}

// lookAgain is how often who stops a container looks whom he waits for.
const lookAgain = 100 * time.Millisecond

// succeeded tells whether another monitor has come in the place of the one that
// was asked: what was to be stopped has ended, and somebody has started it again.
func succeeded(c *record.Container, asked *record.State) bool {
	now, err := c.State()
	return err == nil && asked.Monitor != 0 && now.Monitor != 0 &&
		(now.Monitor != asked.Monitor || now.MonitorStart != asked.MonitorStart)
}

// sendSignal has the monitor pass a signal on, which makes it remember that it was
// a person's. One that cannot be reached (it is just starting, or ending, or its
// socket was taken away) is passed by: to the process itself, or, where restarts
// must not follow, by telling the monitor that all ends. heard: by
// the monitor or the process.
func sendSignal(c *record.Container, s *record.State, o stream.Order) (heard bool, err error) {
	o.Do = orderKill
	_, err = ask(c, o)
	var unheard *unheardError
	if !errors.As(err, &unheard) {
		// Who heard it may have come after s was read.
		if now, e := c.State(); e == nil && now.Monitor != 0 {
			*s = now
		}
		return true, err
	}
	now, err := c.State()
	if err == nil && now.Running {
		*s = now
	}
	pid, start := s.Pid, s.StartTime
	if c.Alive() && o.Signal != syscall.SIGKILL && !c.HostConfig.RestartPolicy.IsNone() {
		pid, start, o.Signal = s.Monitor, s.MonitorStart, syscall.SIGTERM
	}
	if pid == 0 && o.Signal == syscall.SIGKILL {
		// Between two runs, or just starting: it dies with its monitor.
		pid, start = s.Monitor, s.MonitorStart
	}
	switch err := record.Signal(pid, start, o.Signal); {
	case errors.Is(err, os.ErrProcessDone):
		return false, nil
	default:
		return err == nil, err
	}
}

func awaiting(c *record.Container) <-chan error {
	gone := make(chan error, 1)
	go func() { gone <- c.Await() }()
	return gone
}

// ended: the monitor is gone. It may have been killed, and left all to us.
func ended(ctx context.Context, w *remains.Sweeper, c *record.Container) error {
	if _, err := w.Settle(ctx, c); err != nil && !errors.Is(err, record.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Kill sends a signal ("" for SIGKILL) to a container's first process. After
// SIGKILL it waits for the end.
func (e *Engine) Kill(ctx context.Context, ref, signal string) error {
	sig := syscall.SIGKILL
	if signal != "" {
		var err error
		if sig, err = parseSignal(signal); err != nil {
			return err
		}
	}
	name := strings.TrimPrefix(ref, "/")
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return fail(kindOf(err), err, "cannot kill container: %s: %v", name, err)
	}
	if !state.Running {
		return fail(Conflict, nil, "cannot kill container: %s: container %s is not running", name, c.ID)
	}
	if sig == syscall.SIGKILL {
		return e.end(ctx, c, &state, stream.Order{Signal: sig}, defaultGrace)
	}
	if _, err := sendSignal(c, &state, stream.Order{Signal: sig}); err != nil {
		return fail(Internal, err, "cannot kill container: %s: signal %s: %v", name, strconv.Itoa(int(sig)), err)
	}
	return nil
}

// Wait blocks until a container has ended and returns its exit code. One that
// was never started has ended.
func (e *Engine) Wait(ctx context.Context, ref string) (code int, err error) {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return 125, err
	}
	if !state.Running {
		return state.ExitCode, nil
	}
	if conn, err := stream.Dial(c.RunDir, stream.Request{}); err == nil {
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		code, ok, _ := conn.Listen(nil, nil)
		stop()
		conn.Close()
		if ctx.Err() != nil {
			return 125, ctx.Err()
		}
		if ok {
			return code, nil
		}
	}
	select {
	case err := <-awaiting(c):
		if err != nil {
			return 125, err
		}
	case <-ctx.Done():
		return 125, ctx.Err()
	}
	state, err = e.sweeper.Settle(ctx, c)
	if err != nil {
		return 125, noContainer(ref, err)
	}
	return state.ExitCode, nil
}
