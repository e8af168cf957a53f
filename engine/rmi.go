package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/backends"
	"coracle/engine/record"
	"coracle/image"
)

// images is the store, knowing which images containers use.
type images struct {
	image.API
	e *Engine
}

// Remove is that of the store: without force an image of a container stays, and
// with it one of a running container. What was unpacked of it goes with it.
func (i images) Remove(ctx context.Context, ref string, opt image.RemoveOptions) ([]string, error) {
	lines, _, err := RemoveImage(ctx, i.e, ref, opt)
	return lines, err
}

// RemoveImage is Images().Remove, and tells how many bytes of unpacked layers went.
func RemoveImage(ctx context.Context, e *Engine, ref string, opt image.RemoveOptions) (lines []string, freed int64, err error) {
	list, err := e.all(ctx)
	if err != nil {
		return nil, 0, err
	}
	opt.Using = func(id string) (use image.Use) {
		used := usedBy(ctx, e, id)
		for _, l := range list {
			if used(l.c) && (use.Container == "" || l.s.Running && !use.Running) {
				use = image.Use{Container: l.c.ID, Running: l.s.Running}
			}
		}
		return use
	}
	id := ""
	if img, err := e.images.Get(ctx, ref, ""); err == nil {
		id = img.ID
	}
	lines, err = e.images.Remove(ctx, ref, opt)
	toldRemoval(e, id, lines)
	held, e2 := heldLayers(e)
	if e2 != nil {
		e.opt.Warn("what was unpacked of the image stays: " + e2.Error())
		return lines, 0, err
	}
	// Behind the image stand the chain IDs of the layers that it alone had.
	var chains []string
	for _, l := range lines {
		if c, ok := strings.CutPrefix(l, "Deleted: "); ok && !held[c] {
			chains = append(chains, c)
		}
	}
	freed, dropped := e.mach.Drop(ctx, e.sel.Rung(backends.Isolation), chains)
	return lines, freed, errors.Join(err, dropped)
}

// usedBy tells whether a container stands on an image, or mounts it, for whatever
// platform.
func usedBy(ctx context.Context, e *Engine, id string) func(*record.Container) bool {
	builds, _ := e.images.Builds(ctx, id)
	return func(c *record.Container) bool {
		return c.ImageID == id || slices.ContainsFunc(builds, func(b *image.Image) bool { return c.ImageID == b.ID || mounts(c, b.Top()) })
	}
}

// mounts tells whether c has the image of that layer among its mounts.
func mounts(c *record.Container, layer string) bool {
	return layer != "" && slices.ContainsFunc(c.Mounts, func(m record.Mount) bool { return m.Layer == layer })
}

// heldLayers are those that containers have without a snapshot that stands on them:
// as their root (record.Container.View), and as mounts.
func heldLayers(e *Engine) (map[string]bool, error) {
	var failed error
	all, err := e.store.Drafts(func(name string, err error) {
		failed = errors.Join(failed, fmt.Errorf("layers that container %s needs: %w", name, err))
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, c := range all {
		held[c.Layer] = true
		for _, m := range c.Mounts {
			held[m.Layer] = true
		}
	}
	return held, nil
}

// orphaned deletes what was unpacked for a container that is gone, if its image has
// gone before it.
func orphaned(ctx context.Context, e *Engine, c *record.Container) {
	if c.ImageID == "" || c.Layer == "" {
		return
	}
	if _, err := e.images.Get(ctx, c.ImageID, ""); errors.Is(err, image.ErrNotFound) {
		if _, err := SweepLayers(ctx, e); err != nil {
			e.opt.Warn("layers of a removed image: " + err.Error())
		}
	}
}
