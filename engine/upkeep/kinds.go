// Package upkeep keeps house: what takes room (system df), what can go (prune), and
// whether images are still what they were (image verify). It decides nothing about
// what a container or an image is.
package upkeep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"coracle/engine"
	"coracle/fs/tree"

	"github.com/moby/moby/api/types/container"
)

// The seams: what volumes and networks have to add.

// volumes lists the volumes and who uses them.
func volumes(ctx context.Context, e *engine.Engine, users []container.Summary) ([]VolumeUse, error) {
	dir := filepath.Join(engine.PartsOf(e).Root, "volumes")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links := map[string]int{}
	for _, c := range users {
		for _, m := range c.Mounts {
			if m.Type == "volume" {
				links[m.Name]++
			}
		}
	}
	var all []VolumeUse
	for _, v := range entries {
		if !v.IsDir() || v.Name()[0] == '.' {
			continue
		}
		n, err := tree.Usage(filepath.Join(dir, v.Name()))
		if err != nil {
			continue // removed meanwhile
		}
		all = append(all, VolumeUse{v.Name(), links[v.Name()], n})
	}
	return all, ctx.Err()
}

// Volumes removes anonymous volumes that no container has. They have no age that
// Docker filters by.
func Volumes(ctx context.Context, e *engine.Engine, f Filter) (Pruned, error) {
	want := map[string][]string{}
	if len(f.Labels) > 0 {
		want["label"] = f.Labels
	}
	if len(f.NotLabels) > 0 {
		want["label!"] = f.NotLabels
	}
	r, err := engine.VolumePrune(ctx, e, want)
	if r == nil {
		return Pruned{}, err
	}
	return Pruned{Lines: r.VolumesDeleted, Freed: int64(r.SpaceReclaimed)}, err
}

// Networks removes networks that no container is in.
func Networks(ctx context.Context, e *engine.Engine, f Filter) (Pruned, error) {
	want := map[string][]string{}
	if !f.Until.IsZero() {
		want["until"] = []string{f.Until.Format(time.RFC3339Nano)}
	}
	if len(f.Labels) > 0 {
		want["label"] = f.Labels
	}
	if len(f.NotLabels) > 0 {
		want["label!"] = f.NotLabels
	}
	names, err := engine.NetworksOf(e).Prune(ctx, want)
	return Pruned{Lines: names}, err
}
