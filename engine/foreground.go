package engine

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"coracle/engine/record"
	"coracle/engine/stream"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Attended is a run in the foreground: our process is the container's monitor,
// and somebody watches it. What is not given is not done.
type Attended struct {
	Streams
	// Stops: SIGTERM and SIGINT end the container as Stop does, by its own stop
	// signal and in its own time, instead of being passed on.
	Stops bool
	// NoLog: who reads the streams keeps what is written, and once is enough.
	NoLog bool
	// NoRestart: whoever watches starts it again, not its restart policy.
	NoRestart bool
	// Amend changes what this run, and no other, is made of. runDir is a
	// private directory of the container that goes with this boot.
	Amend func(spec *specs.Spec, runDir string) error
	// Started is told when the container runs, each time that it does; pid is
	// that of its first process on the host.
	Started func(pid int)
	// Health is told when the health check has come to another result, in
	// Docker's words.
	Health func(status string)
	// Pipe: the container may not write on when the reader of Stdout is gone.
	Pipe bool

	guest *stream.Guest
	left  func() // the guest has, by its keys
}

// Foreground starts a container that does not run and is its monitor until it
// ends.
func Foreground(ctx context.Context, e *Engine, ref string, a Attended) (code int, err error) {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return 125, err
	}
	if state.Running {
		return 125, fail(Conflict, nil, "container %s is already running", c.Name)
	}
	return attend(ctx, e, c, ref, &a)
}

func attend(ctx context.Context, e *Engine, c *record.Container, ref string, a *Attended) (code int, err error) {
	// A write to a broken pipe is to be an error and not our end. Not ignored:
	// the container would inherit that.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)

	lock, err := e.store.Lock(c)
	if err != nil {
		return 125, noContainer(ref, err)
	}
	if a.Stdin != nil || a.Stdout != nil || a.Stderr != nil {
		happened(e, c, "attach")
	}
	l, err := e.begin(ctx, c, a)
	if err != nil {
		if c.HostConfig.AutoRemove && !isKind(err, NotModified) {
			if e2 := e.sweeper.Discard(context.WithoutCancel(ctx), c, true); e2 != nil {
				e.opt.Warn("remove container " + c.ID[:12] + ": " + e2.Error())
			}
		}
		lock.Release()
		return 125, wrapStart(c, err)
	}
	lock.Release()
	stop := context.AfterFunc(ctx, func() { l.kill(syscall.SIGKILL, order{final: true}) })
	defer stop()
	done := make(chan struct{})
	defer close(done)
	go l.relay(a, done)
	if a.Stdin != nil {
		go l.feed(a.Stdin)
	} else if c.Config.OpenStdin && c.Config.StdinOnce {
		l.pump.CloseStdin()
	}
	return l.wait(), nil
}

// relay passes the caller's signals on, or does what they ask for.
func (l *life) relay(a *Attended, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case sig, ok := <-a.Signals:
			switch {
			case !ok:
				return
			case a.Stops && (sig == syscall.SIGTERM || sig == syscall.SIGINT):
				l.told(sig)
			default:
				l.signal(sig, a.Size)
			}
		}
	}
}

func (a *Attended) sink() *stream.Sink {
	if a.guest != nil {
		return a.guest.Sink()
	}
	s := sinkOf(a.Streams)
	if s != nil {
		s.Reader = a.Pipe
	}
	return s
}
