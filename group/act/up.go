package act

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"coracle/engine"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
)

// UpOptions are those of `up` that its plan does not hold.
type UpOptions struct {
	Timeout   *int // for stopping what is replaced
	NewVolume bool // anonymous volumes are made anew
	QuietPull bool
	Warn      func(string)
}

// running is one `up`.
type running struct {
	*Actor
	p    *load.Project
	plan *plan.Plan
	opt  UpOptions

	mu     sync.Mutex
	images map[string]string            // by service
	live   map[string][]*plan.Container // by service, as it becomes
	anew   map[string]bool              // containers to be started although they run
}

// Create does all of a plan but the starts. It returns the containers of the
// project's services.
func (a *Actor) Create(ctx context.Context, p *load.Project, pl *plan.Plan, images map[string]string, o UpOptions) (*Group, error) {
	r := &running{Actor: a, p: p, plan: pl, opt: o, images: maps.Clone(images), live: map[string][]*plan.Container{}, anew: map[string]bool{}}
	if r.images == nil {
		r.images = map[string]string{}
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	steps := map[string]*plan.Service{}
	for _, wave := range pl.Waves {
		for _, s := range wave {
			steps[s.Name] = s
		}
	}
	err := each(ctx, plan.Project(p.Project), func(ctx context.Context, name string) error {
		if s := steps[name]; s != nil {
			return r.service(ctx, s)
		}
		return nil
	})
	return &Group{Actor: a, Project: p, Live: r.live, Anew: r.anew, Timeout: o.Timeout}, err
}

// prepare has the images, networks and volumes, and takes away orphans.
func (r *running) prepare(ctx context.Context) error {
	if err := r.pull(ctx); err != nil {
		return err
	}
	if err := r.resources(ctx); err != nil {
		return err
	}
	err := all(ctx, slices.Concat(r.plan.Networks, r.plan.RenewNetworks), func(ctx context.Context, key string) error {
		req, err := model.Network(r.p, key)
		if err != nil {
			return err
		}
		return r.step(ctx, "Network "+req.Name, "Creating", "Created", func() error { return r.Engine.MakeNetwork(ctx, req) })
	})
	if err != nil {
		return err
	}
	err = all(ctx, slices.Concat(r.plan.Volumes, r.plan.RenewVolumes), func(ctx context.Context, key string) error {
		req := model.Volume(r.p, key)
		return r.step(ctx, "Volume "+req.Name, "Creating", "Created", func() error { return r.Engine.MakeVolume(ctx, req) })
	})
	if err != nil {
		return err
	}
	return every(r.plan.Orphans, func(s plan.Step) error { return r.discard(ctx, s.Old, r.opt.Timeout, false) })
}

// pull pulls every image once, however many services have it.
func (r *running) pull(ctx context.Context) error {
	type image struct{ ref, platform string }
	wanted := map[image][]string{}
	for service := range r.plan.Pull {
		s := r.p.Services[service]
		key := image{model.Image(r.p, &s), s.Platform}
		wanted[key] = append(wanted[key], service)
	}
	return all(ctx, slices.Collect(maps.Keys(wanted)), func(ctx context.Context, i image) error {
		names := wanted[i]
		slices.Sort(names)
		return r.step(ctx, names[0], "Pulling", "Pulled", func() error {
			id, err := r.Engine.Pull(ctx, i.ref, i.platform, func(e engine.PullEvent) {
				if !r.opt.QuietPull && e.Line != "" {
					r.event(names[0], Working, "Pulling", e.Line)
				}
			})
			if err != nil {
				return fmt.Errorf("image of service %s: %w", names[0], err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, n := range names {
				r.images[n] = id
			}
			return nil
		})
	})
}

// service brings the containers of one service to what the plan says.
func (r *running) service(ctx context.Context, s *plan.Service) error {
	service := r.p.Services[s.Name]
	var plain, rolling []plan.Step
	for _, step := range s.Steps {
		if step.Action == plan.Finish || step.Action == plan.Remove && step.Old.Half() {
			// What was broken off comes first: it has names that are needed.
			if err := r.one(ctx, &service, step); err != nil {
				return err
			}
			continue
		}
		if step.Action == plan.Recreate && service.Deploy != nil && service.Deploy.UpdateConfig != nil && step.Old.Running() {
			rolling = append(rolling, step)
		} else {
			plain = append(plain, step)
		}
	}
	err := all(ctx, plain, func(ctx context.Context, step plan.Step) error { return r.one(ctx, &service, step) })
	if err == nil && len(rolling) > 0 {
		err = r.roll(ctx, &service, rolling)
	}
	r.mu.Lock()
	slices.SortFunc(r.live[s.Name], func(a, b *plan.Container) int { return a.Number - b.Number })
	r.mu.Unlock()
	return err
}

// one does one step.
func (r *running) one(ctx context.Context, s *types.ServiceConfig, step plan.Step) error {
	id := "Container " + step.Container
	switch step.Action {
	case plan.Create:
		return r.step(ctx, id, "Creating", "Created", func() error {
			_, err := r.make(ctx, s, step, "", nil)
			return err
		})
	case plan.Recreate:
		return r.step(ctx, id, "Recreate", "Recreated", func() error { return r.replace(ctx, s, step) })
	case plan.Remove:
		return r.discard(ctx, step.Old, r.opt.Timeout, false)
	case plan.Finish:
		return r.Engine.Rename(ctx, step.Old.ID, step.Container) // it is kept by a step of its own
	case plan.Leave:
		if step.Old.Running() {
			r.event(id, Done, "Running")
		}
	case plan.Start:
		if step.Old.Running() {
			r.mu.Lock()
			r.anew[step.Old.ID] = true
			r.mu.Unlock()
		}
	}
	r.keep(s.Name, step.Old)
	return nil
}

func (r *running) keep(service string, c *plan.Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[service] = append(r.live[service], c)
}

// make makes a container, by another name than its own if temp is not "".
func (r *running) make(ctx context.Context, s *types.ServiceConfig, step plan.Step, temp string, inherit map[string]string) (*plan.Container, error) {
	w := model.Want{Number: step.Number, Refs: map[string]string{}, Links: map[string][]string{}, Inherit: inherit}
	r.mu.Lock()
	w.ImageID = r.images[s.Name]
	for name, list := range r.live {
		for i, c := range list {
			if i == 0 {
				w.Refs[name] = c.ID
			}
			w.Links[name] = append(w.Links[name], c.Name)
		}
	}
	r.mu.Unlock()
	d, err := model.Container(r.p, s, w)
	if err != nil {
		return nil, err
	}
	name := d.Name
	if temp != "" {
		d.Name = temp
		d.Config.Labels[model.LabelReplace] = s.Name + r.p.Separator + fmt.Sprint(step.Number)
	}
	c, err := r.create(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", name, err)
	}
	c.Service, c.Number, c.Name = s.Name, step.Number, name
	r.keep(s.Name, c)
	return c, nil
}

// create makes the container of a draft, or nothing.
func (r *running) create(ctx context.Context, d *model.Draft) (*plan.Container, error) {
	id, warnings, err := r.Engine.Make(ctx, d)
	for _, w := range warnings {
		if r.opt.Warn != nil {
			r.opt.Warn(d.Name + ": " + w)
		}
	}
	if err != nil {
		return nil, err
	}
	return &plan.Container{ID: id, State: "created", Labels: d.Config.Labels, Depends: model.ParseDepends(d.Config.Labels[model.LabelDepends])}, nil
}

// replace puts a new container in the place of an old one. The new one is there
// before the old one goes: what is wrong with it shows in time.
func (r *running) replace(ctx context.Context, s *types.ServiceConfig, step plan.Step) error {
	old := step.Old
	var inherit map[string]string
	if !r.opt.NewVolume {
		inherit = old.Anonymous()
	}
	c, err := r.make(ctx, s, step, old.ID[:12]+"_"+step.Container, inherit)
	if err != nil {
		return err
	}
	return r.succeed(ctx, s, old, c)
}

// succeed takes the old container away and gives the new one its name.
func (r *running) succeed(ctx context.Context, s *types.ServiceConfig, old, c *plan.Container) error {
	if err := r.halt(ctx, s, old, r.opt.Timeout); err != nil {
		return err
	}
	if err := Gone(r.Engine.Remove(ctx, old.ID, false, r.opt.NewVolume)); err != nil {
		return err
	}
	return r.Engine.Rename(ctx, c.ID, c.Name)
}

// halt stops a container, after its hooks.
func (a *Actor) halt(ctx context.Context, s *types.ServiceConfig, c *plan.Container, timeout *int) error {
	if !c.Running() {
		return nil
	}
	if s != nil {
		if err := a.hooks(ctx, "pre_stop", s.PreStop, c); err != nil {
			return err
		}
	}
	return Gone(a.Engine.Stop(ctx, c.ID, "", timeout))
}

// discard stops and removes a container.
func (a *Actor) discard(ctx context.Context, c *plan.Container, timeout *int, volumes bool) error {
	id := "Container " + c.Name
	if c.Running() {
		if err := a.step(ctx, id, "Stopping", "Stopped", func() error { return a.halt(ctx, nil, c, timeout) }); err != nil {
			return err
		}
	}
	return a.step(ctx, id, "Removing", "Removed", func() error { return Gone(a.Engine.Remove(ctx, c.ID, true, volumes)) })
}

// Gone forgives that a container is already what it is to become: another
// command was there, or it ended by itself.
func Gone(err error) error {
	var e *engine.Error
	if errors.As(err, &e) && (e.Kind == engine.NotFound || e.Kind == engine.NotModified) {
		return nil
	}
	return err
}
