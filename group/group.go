// Package group is a Compose project as one thing: what `coracle compose` and
// `coracle group` do, over any engine. Package load reads the files, model says
// it in Docker's structures, plan decides, act does. Containers say by their
// labels which group they belong to: there is no other record.
package group

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"coracle/engine"
	"coracle/group/act"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
)

// Session is one command's work on groups.
type Session struct {
	*act.Actor
	Run  string // where locks are kept
	Warn func(string)
}

func (s *Session) warn(format string, a ...any) {
	if s.Warn != nil {
		s.Warn(fmt.Sprintf(format, a...))
	}
}

// Observe finds what there is of a project; "" is of all.
func (s *Session) Observe(ctx context.Context, project string) (*plan.State, error) {
	label := model.LabelProject
	if project != "" {
		label += "=" + project
	}
	list, err := s.Engine.List(ctx, engine.ListOptions{All: true, Filters: map[string][]string{"label": {label}}})
	if err != nil {
		return nil, err
	}
	return plan.Observe(list), nil
}

// resources completes a state by the networks and volumes that there are.
func (s *Session) resources(ctx context.Context, state *plan.State) error {
	networks, wired, err := s.Engine.Networks(ctx)
	if err != nil {
		return err
	}
	volumes, err := s.Engine.Volumes(ctx)
	if err != nil {
		return err
	}
	state.Networks, state.Volumes, state.Wired = networks, volumes, wired
	return nil
}

// UpOptions are those of `up` and `create`.
type UpOptions struct {
	plan.Options
	act.UpOptions
	Pull  string         // "" is each service's own policy
	Scale map[string]int // by service
	// IgnoreOrphans: nothing is said of containers of services that are gone.
	IgnoreOrphans bool
	// Confirm asks whether something is to be lost; nil: it is not.
	Confirm func(question string) bool
}

// Prepared is a plan with what it was made from.
type Prepared struct {
	Project *load.Project
	Plan    *plan.Plan
	Images  map[string]string
	Options UpOptions
}

// Plan decides what `up` is to do.
func (s *Session) Plan(ctx context.Context, p *load.Project, o UpOptions) (*Prepared, error) {
	for name, n := range o.Scale {
		service, ok := p.Services[name]
		if !ok {
			return nil, fmt.Errorf("no such service: %s", name)
		}
		service.SetScale(n)
		p.Services[name] = service
	}
	state, err := s.Observe(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	if err := s.resources(ctx, state); err != nil {
		return nil, err
	}
	if err := external(p, state); err != nil {
		return nil, err
	}
	if o.Options.Images, o.Options.Pull, err = s.images(ctx, p, o.Pull); err != nil {
		return nil, err
	}
	for _, key := range plan.DivergedVolumes(p, state) {
		question := fmt.Sprintf("Volume %q exists but doesn't match configuration in compose file. Recreate (data will be lost)?", p.Volumes[key].Name)
		if o.Confirm != nil && o.Confirm(question) {
			o.RenewVolumes = append(o.RenewVolumes, key)
		}
	}
	pl, err := plan.Up(p, state, o.Options)
	if err != nil {
		return nil, err
	}
	for _, w := range pl.Warnings {
		s.warn("%s", w)
	}
	if !o.NoStart {
		if err := s.clashes(ctx, p, pl, state.Wired); err != nil {
			return nil, err
		}
	}
	if len(pl.Ignored) > 0 && !o.IgnoreOrphans {
		s.warn("Found orphan containers ([%s]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.", strings.Join(pl.Ignored, " "))
	}
	o.UpOptions.Warn = s.Warn
	return &Prepared{p, pl, o.Options.Images, o}, nil
}

// external refuses a project whose external networks or volumes are not there.
func external(p *load.Project, state *plan.State) error {
	if state.Wired {
		for _, key := range slices.Sorted(maps.Keys(p.Networks)) {
			if n := p.Networks[key]; bool(n.External) && !has(state.Networks, n.Name) && !builtIn(n.Name) {
				return fmt.Errorf("network %s declared as external, but could not be found", n.Name)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Volumes)) {
		if v := p.Volumes[key]; bool(v.External) && !has(state.Volumes, v.Name) {
			return fmt.Errorf("external volume %q not found", v.Name)
		}
	}
	return nil
}

func has(list map[string]map[string]string, name string) bool {
	_, ok := list[name]
	return ok
}

func builtIn(network string) bool {
	return network == "bridge" || network == "host" || network == "none" || network == "default"
}

// images finds the image of every service, and says which are to be pulled.
func (s *Session) images(ctx context.Context, p *load.Project, policy string) (ids, pull map[string]string, err error) {
	ids, pull = map[string]string{}, map[string]string{}
	type key struct{ ref, platform string }
	known := map[key]string{}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		service := p.Services[name]
		if service.GetScale() == 0 || service.Provider != nil {
			continue
		}
		k := key{model.Image(p, &service), service.Platform}
		id, ok := known[k]
		if !ok {
			if id, err = s.Engine.Image(ctx, k.ref, k.platform); err != nil {
				return nil, nil, fmt.Errorf("service %q: %w", name, err)
			}
			known[k] = id
		}
		ids[name] = id
		why, err := needed(&service, id, policy, func() time.Time { return s.pulled(k.ref, k.platform) })
		if err != nil {
			return nil, nil, fmt.Errorf("service %q: image %s: %w", name, k.ref, err)
		}
		if why != "" {
			pull[name], ids[name] = why, ""
		}
	}
	return ids, pull, nil
}

// needed says why a service's image is to be pulled; "": it is not.
func needed(s *types.ServiceConfig, id, policy string, pulled func() time.Time) (string, error) {
	var every time.Duration
	if policy == "" {
		var err error
		if policy, every, err = refresh(s); err != nil {
			return "", err
		}
	}
	switch {
	case s.Build != nil && id == "":
		return "", model.ErrBuild
	case s.Build != nil:
		return "", nil
	case policy == types.PullPolicyAlways:
		return "always", nil
	case id != "" && policy == types.PullPolicyRefresh:
		if time.Since(pulled()) < every {
			return "", nil
		}
		return s.PullPolicy, nil
	case id != "":
		return "", nil
	case policy == types.PullPolicyNever:
		return "", errors.New("it is not here, and pull_policy is never")
	}
	return "missing", nil
}

// refresh is a service's policy, and how old its image may be.
func refresh(s *types.ServiceConfig) (policy string, every time.Duration, err error) {
	policy, every, err = s.GetPullPolicy()
	if err == nil && s.PullPolicy == types.PullPolicyRefresh && s.PullRefreshAfter != "" {
		// compose-go reads this form of a duration where the policy has it.
		after := *s
		after.PullPolicy = "every_" + s.PullRefreshAfter
		if policy, every, err = after.GetPullPolicy(); err != nil {
			err = fmt.Errorf("pull_refresh_after: %w", err)
		}
	}
	return policy, every, err
}

// pulled is when an image was pulled last; the zero time where nobody knows.
func (s *Session) pulled(ref, platform string) time.Time {
	if e, ok := s.Engine.(act.Dated); ok {
		return e.Pulled(ref, platform)
	}
	return time.Time{}
}

// Create does all of a plan but the starts.
func (s *Session) Create(ctx context.Context, p *Prepared) (*act.Group, error) {
	return s.Actor.Create(ctx, p.Project, p.Plan, p.Images, p.Options.UpOptions)
}

// Conditions are what `up --wait` waits for, by service.
func Conditions(p *load.Project) map[string]string {
	c := map[string]string{}
	for name := range p.Services {
		c[name] = act.RunningOrHealthy
	}
	for _, s := range p.Services {
		for dep, d := range s.DependsOn {
			if _, ok := c[dep]; ok && d.Condition == types.ServiceConditionCompletedSuccessfully {
				c[dep] = d.Condition
			}
		}
	}
	return c
}

// Wait waits until all services are as `up --wait` wants them.
func Wait(ctx context.Context, g *act.Group) error {
	conditions := Conditions(g.Project)
	var errs []error
	results := make(chan error)
	n := 0
	for name, list := range g.Live {
		n++
		go func() { results <- g.Await(ctx, list, conditions[name]) }()
	}
	for range n {
		if err := <-results; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Select keeps the containers of the named services; none: all. An unknown name
// is an error.
func Select(state *plan.State, services []string, oneoffs bool) ([]*plan.Container, error) {
	known := state.Services()
	for _, name := range services {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no such service: %s", name)
		}
	}
	var list []*plan.Container
	for _, c := range state.Containers {
		if (len(services) == 0 || slices.Contains(services, c.Service)) && (oneoffs || !c.Oneoff) {
			list = append(list, c)
		}
	}
	return list, nil
}

// Pick finds one container of a service; index 0: the first one.
func Pick(state *plan.State, service string, index int, running bool) (*plan.Container, error) {
	for _, c := range state.Of(service) {
		if (index == 0 || c.Number == index) && (!running || c.Running()) {
			return c, nil
		}
	}
	if index > 0 {
		return nil, fmt.Errorf("service %q is not running container #%d", service, index)
	}
	return nil, fmt.Errorf("service %q is not running", service)
}

// Pull is an image that is wanted.
type Pull struct{ Ref, Platform, Service string }

// PullAll pulls images.
func (s *Session) PullAll(ctx context.Context, wanted map[string]Pull, policy string) error {
	return s.Many(ctx, slices.Sorted(maps.Keys(wanted)), func(ctx context.Context, key string) error {
		p := wanted[key]
		if policy == types.PullPolicyMissing {
			if id, err := s.Engine.Image(ctx, p.Ref, p.Platform); err == nil && id != "" {
				s.Skip(p.Service, "Skipped Image is already present locally")
				return nil
			}
		}
		return s.Step(ctx, p.Service, "Pulling", "Pulled", func() error {
			_, err := s.Engine.Pull(ctx, p.Ref, p.Platform, nil)
			return err
		})
	})
}
