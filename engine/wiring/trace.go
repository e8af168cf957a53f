package wiring

import (
	"context"

	"coracle/engine/trace"
	"coracle/net/network"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// Trace explains whether the container from can reach a port of the container to;
// see package trace.
func (w *Networks) Trace(ctx context.Context, from, to *container.InspectResponse, proto string, port uint16) (steps []trace.Step, reached bool) {
	return trace.Run(ctx, &trace.Query{
		From: from, To: to, Proto: proto, Port: port,
		Obstacles: w.obstacles,
		Network:   func(name string) (*dnetwork.Inspect, error) { return w.Inspect(ctx, name) },
	})
}

// obstacles are those of the driver, where it knows of any.
func (w *Networks) obstacles(name string) []string {
	d, err := w.M.Driver(w.M.Rung)
	if err != nil {
		return nil
	}
	n, err := w.M.Find(name)
	if err != nil {
		return nil
	}
	if o, ok := d.(interface {
		Obstacles(*network.Network) []string
	}); ok {
		return o.Obstacles(n)
	}
	return nil
}
