package engine

import (
	"context"
	"errors"
	"time"

	"coracle/engine/wiring"

	"github.com/moby/moby/api/types/network"
)

// NetworksOf are the networks as objects. Its errors are package wiring's: see
// [WireError].
func NetworksOf(e *Engine) *wiring.Networks { return &wiring.Networks{M: e.wires} }

// WireError gives an error of package wiring its kind.
func WireError(err error) error { return wireError(err) }

// Connect puts a container on a network, one that runs at once.
func Connect(ctx context.Context, e *Engine, ref, name string, set *network.EndpointSettings) error {
	return held(ctx, e, name, func(h *Held) error { return NetworksOf(e).Connect(ctx, ref, h.Container, h.State.Running, set) })
}

// Disconnect takes a container from a network.
func Disconnect(ctx context.Context, e *Engine, ref, name string, force bool) error {
	return held(ctx, e, name, func(h *Held) error {
		return NetworksOf(e).Disconnect(ctx, ref, h.Container, h.State.Running, force)
	})
}

// held does f to the container as it is; once more where its run has just begun or
// is just ending.
func held(ctx context.Context, e *Engine, name string, f func(h *Held) error) error {
	for end := time.Now().Add(10 * time.Second); ; {
		h, err := Hold(ctx, e, name)
		if err != nil {
			return err
		}
		err = f(h)
		h.Release()
		if !errors.Is(err, wiring.ErrEnding) || time.Now().After(end) {
			return wireError(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
