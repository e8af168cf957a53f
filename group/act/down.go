package act

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"coracle/group/load"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// networksOf are the networks of a container, as they would be asked for again.
func networksOf(i *container.InspectResponse) *network.NetworkingConfig {
	if i.NetworkSettings == nil || len(i.NetworkSettings.Networks) == 0 {
		return nil
	}
	n := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for name, e := range i.NetworkSettings.Networks {
		n.EndpointsConfig[name] = &network.EndpointSettings{Aliases: e.Aliases, IPAMConfig: e.IPAMConfig, Links: e.Links, DriverOpts: e.DriverOpts}
	}
	return n
}

// StopOptions are those of `stop` and `down`.
type StopOptions struct {
	Timeout *int
	Remove  bool // the containers too
	Volumes bool // with their anonymous volumes
}

// Stop stops containers, and removes them if asked, those first that others do
// not need. What cannot be stopped does not keep the others.
func (a *Actor) Stop(ctx context.Context, p *load.Project, list []*plan.Container, o StopOptions) error {
	by := map[string][]*plan.Container{}
	graph := plan.Graph{}
	for _, c := range list {
		by[c.Service] = append(by[c.Service], c)
		if graph[c.Service] == nil {
			graph[c.Service] = c.Depends
		}
	}
	if _, err := graph.Waves(); err != nil {
		// Labels that somebody changed: there is no order, and no reason to fail.
		for name := range graph {
			graph[name] = nil
		}
	}
	var mu sync.Mutex
	var errs []error
	err := each(ctx, graph.Reverse(), func(ctx context.Context, name string) error {
		var s *types.ServiceConfig
		if p != nil {
			if found, ok := p.Services[name]; ok {
				s = &found
			}
		}
		if err := every(by[name], func(c *plan.Container) error { return a.end(ctx, s, c, o) }); err != nil {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
		return ctx.Err()
	})
	return errors.Join(append(errs, err)...)
}

func (a *Actor) end(ctx context.Context, s *types.ServiceConfig, c *plan.Container, o StopOptions) error {
	id := "Container " + c.Name
	if c.Running() {
		err := a.step(ctx, id, "Stopping", "Stopped", func() error { return a.halt(ctx, s, c, o.Timeout) })
		if err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
	}
	if !o.Remove {
		return nil
	}
	return a.step(ctx, id, "Removing", "Removed", func() error { return Gone(a.Engine.Remove(ctx, c.ID, true, o.Volumes)) })
}

// RemoveNetworks removes networks; one that somebody else uses stays, and that
// is said.
func (a *Actor) RemoveNetworks(ctx context.Context, names []string) error {
	return every(names, func(name string) error {
		return a.step(ctx, "Network "+name, "Removing", "Removed", func() error { return Gone(a.Engine.RemoveNetwork(ctx, name)) })
	})
}

// RemoveVolumes removes volumes.
func (a *Actor) RemoveVolumes(ctx context.Context, names []string) error {
	return every(names, func(name string) error {
		return a.step(ctx, "Volume "+name, "Removing", "Removed", func() error { return Gone(a.Engine.RemoveVolume(ctx, name)) })
	})
}

// RemoveImages removes images, each once.
func (a *Actor) RemoveImages(ctx context.Context, refs []string) error {
	slices.Sort(refs)
	return every(slices.Compact(refs), func(ref string) error {
		return a.step(ctx, "Image "+ref, "Removing", "Removed", func() error { return Gone(a.Engine.RemoveImage(ctx, ref)) })
	})
}

// Labelled are the names of those whose labels have all of want.
func Labelled(list map[string]map[string]string, want map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(list)) {
		ok := true
		for k, v := range want {
			ok = ok && list[name][k] == v
		}
		if ok {
			names = append(names, name)
		}
	}
	return names
}
