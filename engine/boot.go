package engine

import (
	"context"
	"sync"
	"time"

	"coracle/engine/keep"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

// Boot starts the containers whose restart policies have them started after a boot,
// those that others need first, and tells of each what came of it. One whose group
// has it wait for another's health, or end, holds up those only that come after it.
func Boot(ctx context.Context, e *Engine, told func(name string, err error)) error {
	list, err := e.all(ctx)
	if err != nil {
		return err
	}
	var all []keep.Candidate
	for _, l := range list {
		all = append(all, keep.Candidate{C: l.c, State: l.s})
	}
	turns := keep.Boot(all, record.Boot())
	b := &boot{e: e, told: told, over: map[string]chan struct{}{}}
	for _, t := range turns {
		b.over[t.C.ID] = make(chan struct{})
	}
	var waiting sync.WaitGroup
	for _, t := range turns {
		if b.ready(t) {
			b.start(ctx, t)
			continue
		}
		waiting.Go(func() { b.start(ctx, t) })
	}
	waiting.Wait()
	return ctx.Err()
}

type boot struct {
	e    *Engine
	mu   sync.Mutex // one that is told at a time
	told func(name string, err error)
	// over are closed at the end of a container's turn. Those that run already
	// have none.
	over map[string]chan struct{}
}

// ready tells whether there is nothing to wait for.
func (b *boot) ready(t keep.Turn) bool {
	for id, condition := range t.After {
		if condition == keep.Healthy || condition == keep.Completed {
			return false
		}
		if turn, ok := b.over[id]; ok {
			select {
			case <-turn:
			default:
				return false
			}
		}
	}
	return true
}

func (b *boot) start(ctx context.Context, t keep.Turn) {
	defer close(b.over[t.C.ID])
	err := ctx.Err()
	for id, condition := range t.After {
		if err == nil {
			err = b.await(ctx, id, condition)
		}
	}
	if err == nil {
		err = b.e.Start(ctx, t.C.ID)
	}
	if isKind(err, NotModified) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told(t.C.Name, err)
}

// await waits for one container as Compose does.
func (b *boot) await(ctx context.Context, id, condition string) error {
	if turn, ok := b.over[id]; ok {
		select {
		case <-turn:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	switch condition {
	case keep.Completed:
		code, err := b.e.Wait(ctx, id)
		if err == nil && code != 0 {
			err = fail(Conflict, nil, "dependency failed to start: container %s didn't complete successfully: exit %d", b.name(ctx, id), code)
		}
		return err
	case keep.Healthy:
		return b.healthy(ctx, id)
	}
	return nil
}

func (b *boot) name(ctx context.Context, id string) string {
	c, _, err := b.e.find(ctx, id)
	if err != nil {
		return id
	}
	return c.Name
}

// healthy waits until a container is well; one that nobody checks need only run.
func (b *boot) healthy(ctx context.Context, id string) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		c, s, err := b.e.find(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case !s.Running:
			return fail(Conflict, nil, "dependency failed to start: container %s exited (%d)", c.Name, s.ExitCode)
		case s.Health == nil || s.Health.Status == container.Healthy || s.Health.Status == container.NoHealthcheck:
			return nil
		case s.Health.Status == container.Unhealthy:
			return fail(Conflict, nil, "dependency failed to start: container %s is unhealthy", c.Name)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
