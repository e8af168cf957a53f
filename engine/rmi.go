package engine

import (
	"context"

	"coracle/image"
)

// images is the store, knowing which images containers use.
type images struct {
	image.API
	e *Engine
}

// Remove is that of the store: without force an image of a container stays, and
// with it one of a running container.
func (i images) Remove(ctx context.Context, ref string, opt image.RemoveOptions) ([]string, error) {
	list, err := i.e.all(ctx)
	if err != nil {
		return nil, err
	}
	opt.Using = func(id string) (use image.Use) {
		for _, l := range list {
			if l.c.ImageID == id && (use.Container == "" || l.s.Running && !use.Running) {
				use = image.Use{Container: l.c.ID, Running: l.s.Running}
			}
		}
		return use
	}
	return i.API.Remove(ctx, ref, opt)
}
