package engine

import (
	"context"

	"coracle/engine/events"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/stream"
	"coracle/image"
)

// Held is a container that nobody starts or removes until it is released. One
// that runs may end meanwhile.
type Held struct {
	*record.Container
	State   record.State
	Machine *machine.Machine
	Store   *image.Store
	lock    *record.Lock
	e       *Engine
}

// Hold finds a container for work on its files.
func Hold(ctx context.Context, e *Engine, ref string) (*Held, error) {
	c, _, err := e.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	lock, err := e.store.Lock(c)
	if err != nil {
		return nil, noContainer(ref, err)
	}
	// What was seen without the lock may not be so any more.
	s, err := c.State()
	if err != nil {
		lock.Release()
		return nil, err
	}
	if s.Running && !c.Alive() {
		s.Running = false
	}
	return &Held{c, s, e.mach, e.images, lock, e}, nil
}

// Release lets the container go.
func (h *Held) Release() { h.lock.Release() }

// Tell writes an event of the container: more are attributes, pairs of a name and a value.
func (h *Held) Tell(what events.Action, more ...string) { happened(h.e, h.Container, what, more...) }

// TellImage writes an event of an image.
func (h *Held) TellImage(what events.Action, id, name string) { toldImage(h.e, what, id, name) }

// Pause has the monitor pause the container until resume is called, or this process
// is killed. A container that is paused already stays so: resume is nil then.
func (h *Held) Pause() (resume func() error, err error) {
	if h.State.Paused {
		return nil, nil
	}
	a, resume, err := stream.During(h.RunDir, stream.Order{Do: orderPause, Undo: orderUnpause}, patience)
	switch {
	case err != nil:
		return nil, &unheardError{err}
	case a.Err != "":
		return nil, fail(Kind(a.Kind), nil, "%s", a.Err)
	}
	return resume, nil
}
