package engine

import (
	"context"
	"errors"
	"os"
	"syscall"

	"coracle/engine/record"
	"coracle/engine/stream"
)

// Remove deletes a container; with volumes also its anonymous volumes.
func (e *Engine) Remove(ctx context.Context, ref string, force, volumes bool) error {
	e.made.Store(nil)
	c, err := findDamaged(e.store, ref)
	if err != nil {
		return err
	}
	lock, err := e.store.Lock(c)
	if err != nil {
		return noContainer(ref, err)
	}
	defer lock.Release()
	mon, err := c.LockMonitor()
	if errors.Is(err, record.ErrBusy) {
		if mon, err = evict(ctx, c, force); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	defer mon.Release()
	if _, err := os.Lstat(c.Dir()); err != nil {
		return nil // its monitor removed it: --rm
	}
	if c.Config == nil {
		return e.sweeper.CleanOne(ctx, c, false)
	}
	s, err := c.State()
	if err != nil && !errors.Is(err, record.ErrDamaged) {
		return err
	}
	if s.Dirty || s.Running || err != nil {
		if err := e.sweeper.Sweep(ctx, c, &s); err != nil {
			return fail(Internal, err, "cannot remove container %q: %v", "/"+c.Name, err)
		}
	}
	if err := e.sweeper.Discard(ctx, c, volumes || c.HostConfig.AutoRemove); err != nil {
		return fail(Internal, err, "cannot remove container %q: %v", "/"+c.Name, err)
	}
	orphaned(ctx, e, c)
	return nil
}

// findDamaged finds a container, also one whose record cannot be read, by its
// whole ID or the beginning of it.
func findDamaged(s *record.Store, ref string) (*record.Container, error) {
	id, err := s.Find(ref)
	if err != nil {
		return nil, noContainer(ref, err)
	}
	c, err := s.Load(id)
	if errors.Is(err, record.ErrDamaged) {
		return s.Blank(id), nil
	}
	if err != nil {
		return nil, noContainer(ref, err)
	}
	return c, nil
}

// evict kills a running container that is to be removed, and takes the place of
// its monitor.
func evict(ctx context.Context, c *record.Container, force bool) (*record.Lock, error) {
	s, err := c.State()
	if err != nil && !force {
		return nil, err
	}
	if !force && s.Paused {
		return nil, fail(Conflict, nil, "cannot remove container %q: container is %s and must be unpaused first", "/"+c.Name, s.Status())
	}
	if !force {
		return nil, fail(Conflict, nil, "cannot remove container %q: container is %s: stop the container before removing or force remove", "/"+c.Name, s.Status())
	}
	// With the object lock held nobody starts it again.
	_, err = insist(ctx, c, &s, stream.Order{Signal: syscall.SIGKILL}, -1)
	var unsent *unsentError
	if errors.As(err, &unsent) {
		return nil, fail(Internal, unsent.err, "cannot remove container %q: could not kill: %v", "/"+c.Name, unsent.err)
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(c.RunDir); err != nil {
		return nil, nil
	}
	return c.LockMonitor()
}
