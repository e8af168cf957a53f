package group

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/group/model"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"
)

// Groups without files: a script makes a group, its containers one by one, and
// says what waits for what. All of it stands in the containers' labels; of a
// group that has none yet there is only an empty file with its name.

// ErrName says that a group cannot have that name.
var ErrName = errors.New("a group's name is of lower-case letters, digits, dashes and underscores, and begins with a letter or digit")

func marker(root, name string) string { return filepath.Join(root, "groups", name) }

// Known tells whether a script made a group of that name.
func Known(root, name string) bool {
	if name == "" || loader.NormalizeProjectName(name) != name {
		return false
	}
	_, err := os.Lstat(marker(root, name))
	return err == nil
}

// Found makes a group without files.
func Found(root, name string) error {
	if name == "" || loader.NormalizeProjectName(name) != name {
		return fmt.Errorf("invalid group name %q: %w", name, ErrName)
	}
	if err := os.MkdirAll(filepath.Join(root, "groups"), 0o711); err != nil {
		return err
	}
	f, err := os.OpenFile(marker(root, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("group %s is there already", name)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// Forget takes the name of a group away; its containers are gone.
func Forget(root, name string) error {
	err := os.Remove(marker(root, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Member are the labels that make a container the one of a service of a group.
func Member(group, service string, c *container.Config, h *container.HostConfig) (map[string]string, error) {
	data, err := json.Marshal([]any{c.Image, c.Cmd, c.Entrypoint, c.Env, h.Binds, h.PortBindings, h.NetworkMode})
	if err != nil {
		return nil, err
	}
	return map[string]string{
		model.LabelProject: group, model.LabelService: service, model.LabelNumber: "1", model.LabelOneoff: "False",
		model.LabelHash: digest.FromBytes(data).Encoded(),
	}, nil
}

// Relabel changes a container's labels.
type Relabel func(ctx context.Context, ref string, labels map[string]string) error

// Add makes containers members of a group, each a service of its own name.
func (s *Session) Add(ctx context.Context, group string, refs []string, relabel Relabel) error {
	for _, ref := range refs {
		i, err := s.Engine.Inspect(ctx, ref, false)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(i.Name, "/")
		if other := i.Config.Labels[model.LabelProject]; other != "" && other != group {
			return fmt.Errorf("container %s is of group %s", name, other)
		}
		labels, err := Member(group, name, i.Config, i.HostConfig)
		if err != nil {
			return err
		}
		if err := relabel(ctx, i.ID, labels); err != nil {
			return err
		}
	}
	return nil
}

// conditions are how a script says what is waited for.
var conditions = [...][2]string{
	{"started", types.ServiceConditionStarted}, {"healthy", types.ServiceConditionHealthy},
	{"completed", types.ServiceConditionCompletedSuccessfully},
}

// ParseDependency reads SERVICE:OTHER[=started|healthy|completed].
func ParseDependency(text string) (service, other string, d types.ServiceDependency, err error) {
	d = types.ServiceDependency{Condition: types.ServiceConditionStarted, Required: true}
	service, rest, ok := strings.Cut(text, ":")
	other, condition, given := strings.Cut(rest, "=")
	if !ok || service == "" || other == "" {
		return "", "", d, fmt.Errorf("invalid dependency %q: it is SERVICE:OTHER[=started|healthy|completed]", text)
	}
	if !given {
		return service, other, d, nil
	}
	for _, c := range conditions {
		if condition == c[0] || condition == c[1] {
			d.Condition = c[1]
			return service, other, d, nil
		}
	}
	return "", "", d, fmt.Errorf("invalid condition %q in %q: it is started, healthy or completed", condition, text)
}

// Depend has services wait for others.
func (s *Session) Depend(ctx context.Context, group string, list []string, relabel Relabel) error {
	state, err := s.Observe(ctx, group)
	if err != nil {
		return err
	}
	graph := state.Graph()
	changed := map[string]bool{}
	for _, text := range list {
		service, other, d, err := ParseDependency(text)
		if err != nil {
			return err
		}
		for _, name := range []string{service, other} {
			if _, ok := graph[name]; !ok {
				return fmt.Errorf("no such service: %s", name)
			}
		}
		graph[service][other] = d
		changed[service] = true
	}
	if _, err := graph.Waves(); err != nil {
		return err
	}
	for _, c := range state.Containers {
		if changed[c.Service] {
			if err := relabel(ctx, c.ID, map[string]string{model.LabelDepends: model.Depends(graph[c.Service])}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Health is a group at a glance.
type Health struct {
	Name     string    `json:"name"`
	Status   string    `json:"status"` // running, partial, stopped, empty
	Services []Service `json:"services"`
}

// Service is one of its services.
type Service struct {
	Name       string            `json:"name"`
	DependsOn  map[string]string `json:"depends_on,omitempty"`
	Containers []Replica         `json:"containers"`
}

// Replica is one of its containers.
type Replica struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Health   string `json:"health,omitempty"`
	ExitCode int    `json:"exit_code"`
}

// Status looks at a group.
func (s *Session) Status(ctx context.Context, name string) (*Health, error) {
	state, err := s.Observe(ctx, name)
	if err != nil {
		return nil, err
	}
	h := &Health{Name: name, Services: []Service{}}
	total, good := 0, 0
	for _, service := range state.Services() {
		one := Service{Name: service}
		for _, c := range state.Of(service) {
			i, err := s.Engine.Inspect(ctx, c.ID, false)
			if err != nil {
				continue // gone meanwhile
			}
			r := Replica{ID: c.ID, Name: c.Name, State: string(i.State.Status), ExitCode: i.State.ExitCode}
			if i.State.Health != nil {
				r.Health = string(i.State.Health.Status)
			}
			one.Containers = append(one.Containers, r)
			total++
			if r.State == "running" && r.Health != "unhealthy" || needsOnce(state, service) && r.State == "exited" && r.ExitCode == 0 {
				good++
			}
			for dep, d := range c.Depends {
				if one.DependsOn == nil {
					one.DependsOn = map[string]string{}
				}
				one.DependsOn[dep] = strings.TrimPrefix(d.Condition, "service_")
			}
		}
		h.Services = append(h.Services, one)
	}
	running := slices.ContainsFunc(state.Containers, (*plan.Container).Running)
	switch {
	case total == 0:
		h.Status = "empty"
	case good == total:
		h.Status = "running"
	case running:
		h.Status = "partial"
	default:
		h.Status = "stopped"
	}
	return h, nil
}

// needsOnce tells whether others wait for a service's end.
func needsOnce(state *plan.State, service string) bool {
	for _, c := range state.Containers {
		if d, ok := c.Depends[service]; ok && d.Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// Ended waits until all containers that run have ended, and returns the exit
// code of the first that failed.
func (s *Session) Ended(ctx context.Context, list []*plan.Container, told func(c *plan.Container, code int)) (int, error) {
	failed := 0
	_, err := s.First(ctx, list, false, func(c *plan.Container, code int) {
		if failed == 0 {
			failed = code
		}
		told(c, code)
	})
	return failed, err
}
