package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"coracle/engine/record"
	"coracle/engine/stream"

	"github.com/moby/moby/api/types/container"
)

// withGuest is the argument of a monitor that has a guest.
const withGuest = "guest"

// guestFD is the monitor's end of the conversation with who started it.
const guestFD = answerFD + 1

// visit is a caller who watches by way of a monitor of its own.
type visit struct {
	Rows, Cols uint16 // of its terminal, 0 without
}

// detachable: the keys work at a terminal, as with Docker, and nowhere else. A
// process that is to end while the container goes on cannot be its parent.
func (s Streams) detachable(tty bool) bool {
	return tty && s.Terminal && s.Stdin != nil && len(s.DetachKeys) > 0
}

func (s Streams) visit() *visit {
	v := &visit{}
	if s.Size != nil {
		v.Rows, v.Cols = s.Size()
	}
	return v
}

// runApart starts a container with a monitor of its own and talks to it.
func runApart(ctx context.Context, e *Engine, c *record.Container, ref string, s Streams) (int, error) {
	lock, err := e.store.Lock(c)
	if err != nil {
		return 125, noContainer(ref, err)
	}
	happened(e, c, "attach")
	conn, far, err := stream.Couple()
	if err != nil {
		lock.Release()
		return 125, err
	}
	defer conn.Close()
	err = startLocked(ctx, e, c, errand{ID: c.ID, Visit: s.visit()}, far)
	far.Close()
	lock.Release()
	if err != nil {
		return 125, err
	}
	code, _, err := attached(ctx, e, c, conn, s)
	return code, err
}

// execApart is an exec that may be detached from.
func execApart(ctx context.Context, e *Engine, c *record.Container, req *container.ExecCreateRequest, s Streams) (int, error) {
	conn, far, err := stream.Couple()
	if err != nil {
		return 125, err
	}
	defer conn.Close()
	err = e.spawn(ctx, errand{ID: c.ID, Exec: req, Visit: s.visit()}, far)
	far.Close()
	if err != nil {
		return 125, err
	}
	code, ending, err := converse(ctx, conn, s, req.Tty, false)
	switch {
	case err != nil:
		return 125, err
	case ending == left:
		return 1, ErrDetached
	case ending == told:
		return code, nil
	case ctx.Err() != nil:
		return 125, ctx.Err()
	}
	return 125, fail(Internal, nil, "the process's monitor died")
}

// How a conversation ended.
type ending int

const (
	lost ending = iota // the monitor died without a word
	told               // with an exit code
	left               // by the keys
)

// converse moves a caller's streams to a monitor and back. closes: the end of the
// caller's input is that of the process's.
func converse(ctx context.Context, conn *stream.Client, s Streams, tty, closes bool) (code int, how ending, err error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if s.Size != nil && tty {
		conn.Resize(s.Size())
	}
	done := make(chan struct{})
	defer close(done)
	go forward(s, tty, func(rows, cols uint16) { conn.Resize(rows, cols) }, func(n syscall.Signal) { conn.Signal(n) }, done)
	keys := make(chan struct{})
	if s.Stdin != nil {
		go func() {
			_, err := io.Copy(struct{ io.Writer }{conn}, &stream.Detacher{R: s.Stdin, Keys: s.DetachKeys})
			if errors.As(err, &stream.ErrDetached{}) {
				close(keys)
				conn.Leave()
			} else if closes {
				conn.CloseStdin()
			}
		}()
	}
	code, ok, err := conn.Listen(orDiscard(s.Stdout), orDiscard(s.Stderr))
	select {
	case <-keys:
		return 0, left, nil
	default:
	}
	if ok {
		how = told
	}
	return code, how, err
}

// attended is a monitor's view of who came with it.
func (w *errand) attended() (*Attended, error) {
	a := &Attended{}
	v := w.Visit
	if v == nil {
		return a, nil
	}
	var err error
	a.guest, err = stream.NewGuest(os.NewFile(guestFD, "guest"))
	if v.Rows > 0 || v.Cols > 0 {
		a.Size = func() (rows, cols uint16) { return v.Rows, v.Cols }
	}
	return a, err
}

// greet makes a guest one of the clients, for the container's first run.
func (l *life) greet(sink *stream.Sink) {
	if g := l.with.guest; g != nil && l.server != nil {
		l.with.guest = nil
		l.server.Welcome(g, sink)
	}
}

// heed does as a guest says, who may leave.
func (a *Attended) heed(pump *stream.Pump, signal func(syscall.Signal) error) {
	if a.guest == nil {
		return
	}
	go func() {
		if a.guest.Serve(pump, signal) && a.left != nil {
			a.left()
		}
	}()
}
