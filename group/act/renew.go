package act

import (
	"context"
	"slices"

	"coracle/group/plan"

	"github.com/moby/moby/api/types/container"
)

// resources takes networks and volumes away that are to be made anew, after it has
// stopped what is on them: containers of a network start again, as with docker
// compose, those that hold a volume go, with nothing to show for it if we are killed
// in between but that `up` makes them once more.
func (r *running) resources(ctx context.Context) error {
	names := func(keys []string, of func(key string) string) (list []string) {
		for _, key := range keys {
			list = append(list, of(key))
		}
		return list
	}
	networks := names(r.plan.RenewNetworks, func(key string) string { return r.p.Networks[key].Name })
	volumes := names(r.plan.RenewVolumes, func(key string) string { return r.p.Volumes[key].Name })
	var stop, drop []*plan.Container
	for _, wave := range r.plan.Waves {
		for _, s := range wave {
			for _, step := range s.Steps {
				switch c := step.Old; {
				case c == nil:
				case step.Action == plan.Create, step.Action == plan.Remove && slices.ContainsFunc(volumes, c.Holds):
					drop = append(drop, c)
				case slices.ContainsFunc(c.Networks, func(n string) bool { return slices.Contains(networks, n) }):
					stop = append(stop, c)
				}
			}
		}
	}
	if err := r.Stop(ctx, r.p, stop, StopOptions{Timeout: r.opt.Timeout}); err != nil {
		return err
	}
	for _, c := range stop {
		if c.Running() {
			c.State = container.StateExited
		}
	}
	if err := r.RemoveNetworks(ctx, networks); err != nil {
		return err
	}
	if err := r.Stop(ctx, r.p, drop, StopOptions{Timeout: r.opt.Timeout, Remove: true}); err != nil {
		return err
	}
	return r.RemoveVolumes(ctx, volumes)
}
