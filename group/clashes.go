package group

import (
	"context"

	"coracle/engine"
	"coracle/group/act"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"
)

// clashes looks whether the plan's containers can have their names, addresses and
// ports, before anything is made. A plan of nothing is not looked at.
func (s *Session) clashes(ctx context.Context, p *load.Project, pl *plan.Plan, wired bool) error {
	if pl.Nothing() {
		return nil
	}
	all, err := s.Engine.List(ctx, engine.ListOptions{All: true})
	if err != nil {
		return err
	}
	h := plan.Host{Containers: all, Unwired: !wired}
	if e, ok := s.Engine.(act.Hosting); ok {
		h.Shared, h.Busy = e.Shared(), e.Busy()
		if h.Shared {
			h.Exposes = map[string][]string{}
			for name, service := range p.Services {
				h.Exposes[name] = e.Exposes(ctx, model.Image(p, &service), service.Platform)
			}
		}
	}
	return pl.Clashes(p, h)
}
