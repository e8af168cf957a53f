package plan

import (
	"fmt"
	"maps"
	"slices"

	"coracle/group/load"
	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
)

// How containers that are there are treated.
const (
	Diverged = "diverged" // made anew where the configuration or image changed
	Force    = "force"
	Keep     = "never"
)

// Options are those of `up` and `create`.
type Options struct {
	// Services were named; others of the project are there as dependencies. None:
	// all were.
	Services      []string
	Recreate      string // of the named; "" is Diverged
	RecreateDeps  string // of the others
	RemoveOrphans bool
	NoStart       bool
	// Images are the IDs of the services' images now; "" where one is to come.
	Images map[string]string
	// Pull are the services whose image is to be pulled, and why.
	Pull map[string]string
	// RenewVolumes, by key, are made anew: their data are lost.
	RenewVolumes []string
}

// Action is what is done to a container.
type Action string

// The actions.
const (
	Create   Action = "create"
	Recreate Action = "recreate"
	Remove   Action = "remove"
	Start    Action = "start"
	Leave    Action = "leave"  // it runs, and is what is wanted
	Finish   Action = "rename" // its predecessor is gone: it gets its name
)

// Step is what is done to one container.
type Step struct {
	Action    Action     `json:"action"`
	Container string     `json:"container"`
	Number    int        `json:"number,omitempty"`
	Why       string     `json:"why,omitempty"`
	Old       *Container `json:"-"` // that is there
}

// Service is what is done to the containers of one service.
type Service struct {
	Name  string            `json:"service"`
	Waits map[string]string `json:"waits_for,omitempty"` // condition by service
	Steps []Step            `json:"steps"`
}

// Plan is what is to be done.
type Plan struct {
	Project  string            `json:"project"`
	Pull     map[string]string `json:"pull,omitempty"` // why, by service
	Networks []string          `json:"networks,omitempty"`
	Volumes  []string          `json:"volumes,omitempty"`
	// Their definitions changed: what is on them stops, then they are made anew.
	RenewNetworks []string     `json:"renew_networks,omitempty"`
	RenewVolumes  []string     `json:"renew_volumes,omitempty"`
	Warnings      []string     `json:"warnings,omitempty"`
	Orphans       []Step       `json:"orphans,omitempty"` // that are removed
	Ignored       []string     `json:"ignored,omitempty"` // orphans that stay
	Waves         [][]*Service `json:"waves"`
}

// Nothing tells whether there is nothing to do.
func (p *Plan) Nothing() bool {
	if len(p.Pull)+len(p.Networks)+len(p.Volumes)+len(p.RenewNetworks)+len(p.RenewVolumes)+len(p.Orphans) > 0 {
		return false
	}
	for _, wave := range p.Waves {
		for _, s := range wave {
			for _, step := range s.Steps {
				if step.Action != Leave {
					return false
				}
			}
		}
	}
	return true
}

// planner makes one plan.
type planner struct {
	p     *load.Project
	s     *State
	o     Options
	fresh map[string]bool // services whose first container is made anew
	renew renewed
}

// Up plans `up`: what has the project's containers be what its files say.
func Up(p *load.Project, s *State, o Options) (*Plan, error) {
	pl := &planner{p: p, s: s, o: o, fresh: map[string]bool{}}
	out := &Plan{Project: p.Name, Pull: o.Pull}
	if err := pl.resources(out); err != nil {
		return nil, err
	}
	graph := Project(p.Project)
	waves, err := graph.Waves()
	if err != nil {
		return nil, err
	}
	for _, names := range waves {
		var wave []*Service
		for _, name := range names {
			service, err := pl.service(name)
			if err != nil {
				return nil, err
			}
			wave = append(wave, service)
		}
		out.Waves = append(out.Waves, wave)
	}
	pl.restarts(out, graph)
	pl.orphans(out)
	return out, nil
}

func (pl *planner) policy(name string) string {
	policy := pl.o.RecreateDeps
	if len(pl.o.Services) == 0 || slices.Contains(pl.o.Services, name) {
		policy = pl.o.Recreate
	}
	if policy == "" {
		policy = Diverged
	}
	return policy
}

// service plans one service.
func (pl *planner) service(name string) (*Service, error) {
	s := pl.p.Services[name]
	out := &Service{Name: name}
	for dep, c := range s.DependsOn {
		if out.Waits == nil {
			out.Waits = map[string]string{}
		}
		out.Waits[dep] = c.Condition
	}
	want := s.GetScale()
	if want > 1 && s.ContainerName != "" {
		return nil, fmt.Errorf("service %q has container_name %q and %d replicas: a name can be had once; remove container_name or scale to 1", name, s.ContainerName, want)
	}
	have, half := pl.halves(pl.s.Of(name))
	out.Steps = append(out.Steps, half...)
	order, why, err := pl.order(&s, have)
	if err != nil {
		return nil, err
	}
	for i, c := range order {
		step := Step{Container: c.Name, Number: c.Number, Old: c, Why: why[c]}
		switch {
		case i >= want:
			step.Action, step.Why = Remove, fmt.Sprintf("scaled to %d", want)
		case why[c] != "" && pl.renew.volumeOf(c) != "":
			step.Action = Create // the old one goes before its volume does
			step.Container = model.Name(pl.p, &s, c.Number)
		case why[c] != "":
			step.Action = Recreate
			step.Container = model.Name(pl.p, &s, c.Number)
		case c.Running() && pl.renew.networkOf(c) != "":
			step.Action, step.Why = Start, "network "+pl.renew.networkOf(c)+" changed"
		case c.Running():
			step.Action = Leave
		default:
			step.Action, step.Why = Start, "is "+string(c.State)
		}
		if step.Action == Start && pl.o.NoStart {
			step.Action = Leave
		}
		if step.Action == Recreate || step.Action == Create {
			pl.fresh[name] = true
		}
		out.Steps = append(out.Steps, step)
	}
	for _, n := range numbers(order, want) {
		out.Steps = append(out.Steps, Step{Action: Create, Container: model.Name(pl.p, &s, n), Number: n})
		if len(order) == 0 {
			pl.fresh[name] = true
		}
	}
	return out, nil
}

// halves sorts out containers that a killed command left half replaced: where
// the old one is still there the new one goes, else it gets its name.
func (pl *planner) halves(have []*Container) (whole []*Container, steps []Step) {
	for _, c := range have {
		if !c.Half() {
			whole = append(whole, c)
			continue
		}
		twin := slices.ContainsFunc(have, func(o *Container) bool { return o != c && o.Number == c.Number && !o.Half() })
		if twin {
			steps = append(steps, Step{Action: Remove, Container: c.Name, Number: c.Number, Old: c, Why: "left by a recreation that was broken off"})
			continue
		}
		s := pl.p.Services[c.Service]
		named := *c
		named.Name = model.Name(pl.p, &s, c.Number)
		steps = append(steps, Step{Action: Finish, Container: named.Name, Number: c.Number, Old: &named, Why: "a recreation was broken off"})
		whole = append(whole, &named)
	}
	return whole, steps
}

// order lists containers, those that stay first: what diverged or has the
// highest number goes when there are too many.
func (pl *planner) order(s *types.ServiceConfig, have []*Container) ([]*Container, map[*Container]string, error) {
	why := map[*Container]string{}
	for _, c := range have {
		reason, err := pl.diverged(s, c)
		if err != nil {
			return nil, nil, err
		}
		why[c] = reason
	}
	order := slices.Clone(have)
	slices.SortStableFunc(order, func(a, b *Container) int {
		if (why[a] == "") != (why[b] == "") {
			if why[a] == "" {
				return -1
			}
			return 1
		}
		return a.Number - b.Number
	})
	return order, why, nil
}

// diverged says why a container is to be made anew; "": it is not.
func (pl *planner) diverged(s *types.ServiceConfig, c *Container) (string, error) {
	if name := pl.renew.volumeOf(c); name != "" {
		return "volume " + name + " changed", nil
	}
	switch pl.policy(s.Name) {
	case Keep:
		return "", nil
	case Force:
		return "--force-recreate", nil
	}
	refs := map[string]string{}
	for _, other := range model.Shares(s) {
		if pl.fresh[other] {
			return "service " + other + " gets a new container", nil
		}
		if list := pl.s.Of(other); len(list) > 0 {
			refs[other] = list[0].ID
		}
	}
	resolved, err := model.Resolve(s, refs)
	if err != nil {
		return "", err
	}
	hash, err := model.Hash(resolved)
	if err != nil {
		return "", err
	}
	switch now := pl.o.Images[s.Name]; {
	case c.Hash != hash:
		return "its configuration changed", nil
	case c.State == container.StateDead:
		return "it is dead", nil
	case now != c.ImageID && now != "":
		return "the image changed", nil
	}
	return pl.attached(s, c), nil
}

// attached says which network or volume of the service the container lacks.
func (pl *planner) attached(s *types.ServiceConfig, c *Container) string {
	if pl.s.Wired && c.Running() && s.NetworkMode == "" {
		for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
			if name := pl.p.Networks[key].Name; !slices.Contains(c.Networks, name) {
				return "it is not on network " + name
			}
		}
	}
	for _, v := range s.Volumes {
		named, ok := pl.p.Volumes[v.Source]
		if v.Type == types.VolumeTypeVolume && ok && !c.Holds(named.Name) {
			return "it lacks volume " + named.Name
		}
	}
	return ""
}

// numbers are those that new replicas get, behind the highest that there is.
func numbers(have []*Container, want int) []int {
	highest := 0
	for _, c := range have {
		highest = max(highest, c.Number)
	}
	var list []int
	for len(have)+len(list) < want {
		list = append(list, highest+len(list)+1)
	}
	return list
}

// restarts has services that ask for it start again when what they depend on
// gets new containers.
func (pl *planner) restarts(out *Plan, g Graph) {
	changed := map[string]bool{}
	for _, wave := range out.Waves {
		for _, s := range wave {
			for i, step := range s.Steps {
				for dep, d := range g[s.Name] {
					if d.Restart && changed[dep] && step.Action == Leave && step.Old.Running() && !pl.o.NoStart {
						s.Steps[i].Action, s.Steps[i].Why = Start, "service "+dep+" gets a new container"
					}
				}
				if step.Action == Recreate {
					changed[s.Name] = true
				}
			}
		}
	}
}

// orphans are containers of services that the files do not have any more.
func (pl *planner) orphans(out *Plan) {
	for _, c := range pl.s.Containers {
		_, known := pl.p.Services[c.Service]
		_, disabled := pl.p.DisabledServices[c.Service]
		if known || disabled || c.Oneoff {
			continue
		}
		if pl.o.RemoveOrphans {
			out.Orphans = append(out.Orphans, Step{Action: Remove, Container: c.Name, Number: c.Number, Old: c, Why: "no service " + c.Service + " in the files"})
		} else {
			out.Ignored = append(out.Ignored, c.Name)
		}
	}
}
