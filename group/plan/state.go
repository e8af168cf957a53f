// Package plan compares a project with what there is and says what is to be
// done: pure functions of both, which change nothing and ask nobody. Package
// act does what a plan says.
package plan

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// Container is one that belongs to a project.
type Container struct {
	ID, Name string
	Service  string
	Number   int
	Oneoff   bool
	State    container.ContainerState
	Hash     string // of the configuration that it was made of
	ImageID  string
	Image    string
	Networks []string // by name
	Volumes  map[string]string
	Depends  types.DependsOnConfig
	Labels   map[string]string
	Created  int64
	Summary  *container.Summary
}

// Running tells whether its processes are there.
func (c *Container) Running() bool {
	return c.State == container.StateRunning || c.State == container.StatePaused || c.State == container.StateRestarting
}

// State is what there is of a project.
type State struct {
	Containers []*Container
	Networks   map[string]map[string]string // labels of all that there are, by name
	Volumes    map[string]map[string]string
	// Wired: there are networks at all; without, they are not planned.
	Wired bool
}

// Observe reads the containers of a project from a listing.
func Observe(list []container.Summary) *State {
	s := &State{Networks: map[string]map[string]string{}, Volumes: map[string]map[string]string{}}
	for i := range list {
		s.Containers = append(s.Containers, Of(&list[i]))
	}
	slices.SortFunc(s.Containers, func(a, b *Container) int {
		if a.Service != b.Service {
			return strings.Compare(a.Service, b.Service)
		}
		if a.Number != b.Number {
			return a.Number - b.Number
		}
		return strings.Compare(a.Name, b.Name)
	})
	return s
}

// Of is one container of a listing.
func Of(s *container.Summary) *Container {
	l := s.Labels
	c := &Container{
		ID: s.ID, Service: l[model.LabelService], Oneoff: l[model.LabelOneoff] == "True", State: s.State,
		Hash: l[model.LabelHash], ImageID: l[model.LabelImage], Image: s.Image, Depends: model.ParseDepends(l[model.LabelDepends]),
		Labels: l, Created: s.Created, Volumes: map[string]string{}, Summary: s,
	}
	if len(s.Names) > 0 {
		c.Name = strings.TrimPrefix(s.Names[0], "/")
	}
	c.Number, _ = strconv.Atoi(l[model.LabelNumber])
	for _, m := range s.Mounts {
		if m.Type == mount.TypeVolume {
			c.Volumes[m.Destination] = m.Name
		}
	}
	if s.NetworkSettings != nil {
		c.Networks = slices.Sorted(maps.Keys(s.NetworkSettings.Networks))
	}
	return c
}

// Holds tells whether it has a volume.
func (c *Container) Holds(volume string) bool {
	return slices.Contains(slices.Collect(maps.Values(c.Volumes)), volume)
}

func hexadecimal(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// Anonymous are the volumes that nobody named, by their place.
func (c *Container) Anonymous() map[string]string {
	m := map[string]string{}
	for place, name := range c.Volumes {
		if hexadecimal(name, 64) {
			m[place] = name
		}
	}
	return m
}

// Half tells whether the container is one that was made to replace another and
// never got its name: a command was killed in between.
func (c *Container) Half() bool {
	id, _, ok := strings.Cut(c.Name, "_")
	return ok && hexadecimal(id, 12) && c.Labels[model.LabelReplace] != ""
}

// Of lists the replicas of a service, by number.
func (s *State) Of(service string) []*Container {
	var list []*Container
	for _, c := range s.Containers {
		if c.Service == service && !c.Oneoff {
			list = append(list, c)
		}
	}
	return list
}

// Services are those that have containers.
func (s *State) Services() []string {
	var names []string
	for _, c := range s.Containers {
		if !c.Oneoff {
			names = append(names, c.Service)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Graph is what each service waits for, read from the containers' labels: for
// groups without a file.
func (s *State) Graph() Graph {
	g := Graph{}
	for _, c := range s.Containers {
		if !c.Oneoff {
			g[c.Service] = c.Depends
		}
	}
	return g
}
