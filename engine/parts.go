package engine

import (
	"context"
	"maps"

	"coracle/backends"
	"coracle/engine/machine"
	"coracle/image"
)

// Parts are what those work with who keep house (engine/upkeep).
type Parts struct {
	Images    *image.Store
	Machine   *machine.Machine
	Isolation string // the rung that new containers get
	Root      string // durable state
}

// PartsOf takes an engine apart.
func PartsOf(e *Engine) Parts {
	return Parts{Images: e.images, Machine: e.mach, Isolation: e.sel.Rung(backends.Isolation), Root: e.store.Root()}
}

// SweepLayers deletes unpacked layers that no image and no container needs. While
// something comes in, its layers may be there before their image is: then nothing
// is deleted.
func SweepLayers(ctx context.Context, e *Engine) (int64, error) {
	if e.images.Receiving() {
		return 0, nil
	}
	keep, err := e.images.Chains(ctx)
	if err != nil {
		return 0, err
	}
	held, err := heldLayers(e)
	if err != nil {
		return 0, err
	}
	maps.Copy(keep, held)
	return e.mach.Sweep(ctx, e.sel.Rung(backends.Isolation), keep)
}
