package engine

import (
	"context"

	"coracle/engine/keep"
	"coracle/engine/record"
)

// Boot starts the containers whose restart policies have them started after a boot,
// those that others need first, and tells of each what came of it.
func Boot(ctx context.Context, e *Engine, told func(name string, err error)) error {
	list, err := e.all(ctx)
	if err != nil {
		return err
	}
	var all []keep.Candidate
	for _, l := range list {
		all = append(all, keep.Candidate{C: l.c, State: l.s})
	}
	for _, c := range keep.Boot(all, record.Boot()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := e.Start(ctx, c.ID)
		if isKind(err, NotModified) {
			continue
		}
		told(c.Name, err)
	}
	return nil
}
