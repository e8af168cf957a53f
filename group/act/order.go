package act

import (
	"context"
	"errors"
	"sync"

	"coracle/group/plan"
)

// each calls do for every service of g, each as soon as those that it waits for
// are done. After an error no further one is begun, and those that run are told.
func each(ctx context.Context, g plan.Graph, do func(ctx context.Context, name string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := map[string]chan struct{}{}
	for name := range g {
		done[name] = make(chan struct{})
	}
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for name := range g {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer close(done[name])
			for dep := range g[name] {
				if ch, ok := done[dep]; ok {
					select {
					case <-ch:
					case <-ctx.Done():
					}
				}
			}
			err := ctx.Err()
			if err == nil {
				err = do(ctx, name)
			}
			if err != nil {
				mu.Lock()
				if first == nil {
					first = err
				}
				mu.Unlock()
				cancel()
			}
		}()
	}
	wg.Wait()
	return first
}

// all calls do for every item at once and returns the first error; the others
// are told to stop.
func all[T any](ctx context.Context, items []T, do func(ctx context.Context, item T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	for _, item := range items {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := do(ctx, item); err != nil {
				mu.Lock()
				if first == nil {
					first = err
				}
				mu.Unlock()
				cancel()
			}
		}()
	}
	wg.Wait()
	return first
}

// every is all, but an error of one does not keep the others from their end:
// for stopping and removing.
func every[T any](items []T, do func(item T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = do(item)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Each does something to every container at once; one that fails does not keep
// the others.
func (a *Actor) Each(list []*plan.Container, begin, end string, do func(c *plan.Container) error) error {
	return every(list, func(c *plan.Container) error {
		return a.step(context.Background(), "Container "+c.Name, begin, end, func() error { return do(c) })
	})
}

// Step does one thing and tells of its beginning and its end.
func (a *Actor) Step(ctx context.Context, id, begin, end string, do func() error) error {
	return a.step(ctx, id, begin, end, do)
}

// Skip tells that nothing is done with something, and why.
func (a *Actor) Skip(id, text string) { a.event(id, Done, text) }

// Many calls do for every name at once; one that fails does not keep the others.
func (a *Actor) Many(ctx context.Context, names []string, do func(ctx context.Context, name string) error) error {
	return every(names, func(name string) error { return do(ctx, name) })
}
