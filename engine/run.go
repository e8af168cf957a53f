package engine

import (
	"context"
	"errors"
	"io"
	"strings"

	"coracle/engine/record"
	"coracle/engine/stream"
)

// find finds a container, settled; see settle.
func (e *Engine) find(ctx context.Context, ref string) (*record.Container, record.State, error) {
	if m := e.made.Load(); m != nil && m.c.ID == ref && e.made.CompareAndSwap(m, nil) {
		return m.c, record.State{}, nil
	}
	id, err := e.store.Find(ref)
	if err != nil {
		return nil, record.State{}, noContainer(ref, err)
	}
	c, err := e.store.Load(id)
	if err != nil {
		return nil, record.State{}, noContainer(ref, err)
	}
	if name := strings.TrimPrefix(ref, "/"); c.Name != name && !strings.HasPrefix(id, name) {
		// Its old name, which a rename that was killed left behind.
		if c, err = e.store.Forget(name, id); err != nil {
			return nil, record.State{}, noContainer(ref, err)
		}
	}
	s, err := e.sweeper.Settle(ctx, c)
	if err != nil {
		return nil, s, noContainer(ref, err)
	}
	return c, s, nil
}

// Run starts a container and is its monitor until it ends. One that may be
// detached from gets a monitor of its own, which stays with it.
func (e *Engine) Run(ctx context.Context, ref string, s Streams) (code int, err error) {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return 125, err
	}
	if state.Running {
		code, _, err := e.Attach(ctx, c.ID, s)
		return code, err
	}
	if s.detachable(c.Config.Tty) {
		return runApart(ctx, e, c, ref, s)
	}
	return attend(ctx, e, c, ref, &Attended{Streams: s, Pipe: true})
}

func sinkOf(s Streams) *stream.Sink {
	if s.Stdout == nil && s.Stderr == nil {
		return nil
	}
	return &stream.Sink{Stdout: s.Stdout, Stderr: s.Stderr, Reader: true}
}

func sizeOf(c *record.Container, s Streams) func() (rows, cols uint16) {
	if !c.Config.Tty {
		return nil
	}
	return s.Size
}

func isKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

func wrapStart(c *record.Container, err error) error {
	var e *Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return startError(append([]string{c.Path}, c.Args...), err)
}

// Attach joins the streams of a container that is running.
func (e *Engine) Attach(ctx context.Context, ref string, s Streams) (code int, detached bool, err error) {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return 125, false, err
	}
	if !state.Running {
		return 125, false, fail(Conflict, nil, "You cannot attach to a stopped container, start it first")
	}
	if state.Restarting {
		return 125, false, fail(Conflict, nil, "You cannot attach to a restarting container, wait until it is running")
	}
	if state.Paused {
		return 125, false, fail(Conflict, nil, "You cannot attach to a paused container, unpause it first")
	}
	conn, err := stream.Dial(c.RunDir, stream.Request{Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil})
	if err != nil {
		return 125, false, err
	}
	defer conn.Close()
	happened(e, c, "attach")
	return attached(ctx, e, c, conn, s)
}

// attached is a conversation with a container's monitor.
func attached(ctx context.Context, e *Engine, c *record.Container, conn *stream.Client, s Streams) (code int, detached bool, err error) {
	code, ending, err := converse(ctx, conn, s, c.Config.Tty, c.Config.StdinOnce || !c.Config.Tty)
	switch {
	case ending == left:
		happened(e, c, "detach")
		return 0, true, nil
	case err != nil || ending == told:
		return code, false, err
	case ctx.Err() != nil:
		return 125, false, ctx.Err()
	}
	// The monitor died without a word.
	code, err = e.Wait(ctx, c.ID)
	return code, false, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
