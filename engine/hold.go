package engine

import (
	"context"

	"coracle/engine/machine"
	"coracle/engine/record"
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
	return &Held{c, s, e.mach, e.images, lock}, nil
}

// Release lets the container go.
func (h *Held) Release() { h.lock.Release() }
