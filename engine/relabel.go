package engine

import (
	"context"
	"maps"
)

// Relabel sets labels of a container that there is; an empty value takes a label
// away. Groups say by labels who belongs to them.
func Relabel(ctx context.Context, e *Engine, ref string, labels map[string]string) error {
	e.made.Store(nil)
	c, _, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	c, lock, err := hold(e, c, ref)
	if err != nil {
		return err
	}
	defer lock.Release()
	now := maps.Clone(c.Config.Labels)
	if now == nil {
		now = map[string]string{}
	}
	for k, v := range labels {
		if v == "" {
			delete(now, k)
		} else {
			now[k] = v
		}
	}
	c.Config.Labels = now
	if err := e.store.Rewrite(c); err != nil {
		return noContainer(ref, err)
	}
	return nil
}
