package layer

import (
	"context"
	"fmt"

	"coracle/fs/snapshot"
)

// ApplyFrom opens l and applies it to dir.
func ApplyFrom(ctx context.Context, l snapshot.Layer, dir string, opt Options) (Stats, error) {
	r, err := l.Open(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	stats, err := Apply(ctx, r, dir, opt)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return stats, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	return stats, nil
}
