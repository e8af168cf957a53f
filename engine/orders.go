package engine

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"coracle/engine/events"
	"coracle/engine/record"
	"coracle/engine/stream"

	"golang.org/x/sys/unix"
)

// What a monitor does by order of a command, which comes by its socket.
const (
	orderKill    = "kill"
	orderPause   = "pause"
	orderUnpause = "unpause"
	orderHealth  = "health"
)

// patience is how long a command waits for a monitor to do as it was told.
const patience = 20 * time.Second

// ask gives an order. An error of the monitor's is one of the engine's.
func ask(c *record.Container, o stream.Order) ([]byte, error) {
	a, err := stream.Ask(c.RunDir, o, patience)
	if err != nil {
		return nil, &unheardError{err}
	}
	if a.Err != "" {
		return nil, fail(Kind(a.Kind), nil, "%s", a.Err)
	}
	return a.Data, nil
}

// unheardError: there is a monitor, and it does not listen.
type unheardError struct{ err error }

func (e *unheardError) Error() string {
	return "the container's monitor does not answer: " + e.err.Error()
}
func (e *unheardError) Unwrap() error { return e.err }

// Do is what the socket calls.
func (l *life) Do(o stream.Order) stream.Answer {
	var err error
	var data any
	switch o.Do {
	case orderKill:
		err = l.kill(o.Signal, order{manual: true, keep: o.Keep})
	case orderPause, orderUnpause:
		err = l.pause(o.Do == orderPause)
	case orderHealth:
		l.mu.Lock()
		data = l.checks.now()
		l.mu.Unlock()
	default:
		err = fail(Invalid, nil, "the container's monitor does not know the order %q", o.Do)
	}
	var a stream.Answer
	if err == nil && data != nil {
		a.Data, err = json.Marshal(data)
	}
	if err != nil {
		a.Err = err.Error()
		var e *Error
		if errors.As(err, &e) {
			a.Kind = int(e.Kind)
		}
	}
	return a
}

// Signal is a signal that somebody who is attached passes on.
func (l *life) Signal(sig syscall.Signal) error { return l.kill(sig, order{manual: true}) }

// order says how a signal is meant.
type order struct {
	manual bool // by a person: remembered, see record.State.Stopped
	final  bool // no run follows, whatever the signal
	keep   bool // a new monitor will start the container
}

// kill sends a signal to the first process, by Docker's rules: one that could end
// it (any, where the container names no stop signal of its own) ends the restarts,
// and lets a paused container go on so that it can act on it.
func (l *life) kill(sig syscall.Signal, o order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, _ := stopSettings(l.c)
	final := o.final || l.c.Config.StopSignal == "" || sig == syscall.SIGKILL || sig == own
	if final && !l.last {
		l.last = true
		close(l.halted)
	}
	l.kept = l.kept || o.keep
	if o.manual && !l.state.Stopped {
		l.state.Stopped = true
		if !l.c.HostConfig.RestartPolicy.IsNone() {
			l.c.SetState(l.state, false)
		}
	}
	if l.state.Restarting {
		return nil
	}
	if err := l.proc.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if final && l.state.Paused {
		if err := l.freeze(false); err != nil {
			return err
		}
		l.state.Paused = false
		l.c.SetState(l.state, false)
		l.checks.begin()
	}
	l.tell("kill", "signal", strconv.Itoa(int(sig)))
	return nil
}

// pause stops all processes, or lets them go on.
func (l *life) pause(on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.c.ID
	switch s := &l.state; {
	case s.Restarting:
		return restarting(l.c)
	case !s.Running:
		return notRunning(l.c)
	case on && s.Paused:
		return fail(Conflict, nil, "container %s is already paused", id)
	case !on && !s.Paused:
		return fail(Conflict, nil, "Container %s is not paused", id)
	}
	word := events.Action(orderUnpause)
	if on {
		word = orderPause
	}
	if err := l.freeze(on); err != nil {
		return fail(Internal, err, "Cannot %s container %s: %v", word, id, err)
	}
	l.state.Paused = on
	if on {
		l.checks.end()
	} else {
		l.checks.begin()
	}
	l.c.SetState(l.state, false)
	l.tell(word)
	return nil
}

// freeze uses the group's freezer, or stops the processes one by one.
func (l *life) freeze(on bool) error {
	err := l.group.Freeze(on)
	if err == nil || !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	sig := syscall.SIGCONT
	if on {
		sig = syscall.SIGSTOP
	}
	// A process that was being made when the list was read is in the next.
	seen := map[int]bool{}
	for {
		pids, err := l.iso.Processes(l.target(false))
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if !seen[pid] {
				fresh, seen[pid] = true, true
				if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
					return os.NewSyscallError("kill", err)
				}
			}
		}
		if !fresh {
			return nil
		}
	}
}

// signal passes a caller's signal on, or resizes the terminal.
func (l *life) signal(sig os.Signal, size func() (rows, cols uint16)) {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	switch s {
	case syscall.SIGWINCH:
		if l.c.Config.Tty {
			if size != nil {
				l.current().Resize(size())
			}
			return
		}
	case syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG:
		return
	}
	l.Signal(s)
}

// current are the streams of the run of now.
func (l *life) current() *stream.Pump {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pump
}

// feed copies r to the container's stdin, run after run, until r ends.
func (l *life) feed(r io.Reader) {
	if l.c.HostConfig.RestartPolicy.IsNone() {
		l.pump.Feed(r)
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			l.current().Write(buf[:n])
		}
		if err != nil {
			l.current().CloseStdin()
			return
		}
	}
}
