package wiring

import (
	"context"

	"coracle/engine/trace"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// Trace explains whether the container from can reach a port of the container to;
// see package trace.
func (w *Networks) Trace(ctx context.Context, from, to *container.InspectResponse, proto string, port uint16) (steps []trace.Step, reached bool) {
	return trace.Run(ctx, &trace.Query{
		From: from, To: to, Proto: proto, Port: port,
		Network: func(name string) (*dnetwork.Inspect, error) { return w.Inspect(ctx, name) },
	})
}
