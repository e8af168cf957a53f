package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"coracle/engine"
	"coracle/group/load"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Draft is a container as the engine is to make it.
type Draft struct {
	engine.CreateOptions
	Network *network.NetworkingConfig
	Inject  []File // to be copied in before the start
}

// Want is what Container is to make of a service.
type Want struct {
	Number  int    // of the replica; 0: a one-off
	ImageID string // "" where it is not known yet
	// Refs are the container IDs of services whose namespaces or volumes are
	// shared; Links the names of those that are linked.
	Refs  map[string]string
	Links map[string][]string
	// Inherit are the anonymous volumes of the container that is replaced, by
	// their place.
	Inherit map[string]string
	Stdin   bool
	// Alone: a one-off without the service's names.
	Alone bool
}

// ErrBuild says that there is no image and that none can be built.
var ErrBuild = errors.New("coracle builds no images yet: build it elsewhere and load it with 'coracle load', or name another under image")

// Container is the container of a service.
func Container(p *load.Project, s *types.ServiceConfig, w Want) (*Draft, error) {
	if s.Provider != nil {
		return nil, fmt.Errorf("service %q: providers are not run", s.Name)
	}
	from := s.VolumesFrom
	s, err := Resolve(s, w.Refs)
	if err != nil {
		return nil, err
	}
	labels, err := Labels(p, s, w.Number, w.ImageID)
	if err != nil {
		return nil, err
	}
	d := &Draft{}
	d.Config = config(s, labels, w)
	d.Config.Image = Image(p, s)
	if d.Host, err = host(s); err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	d.Host.VolumesFrom = volumesFrom(from, w.Refs)
	if err := ports(s, d); err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	if err := mounts(p, s, w, d); err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	if err := wire(p, s, w, d); err != nil {
		return nil, fmt.Errorf("service %q: %w", s.Name, err)
	}
	d.Name, d.Platform = Name(p, s, w.Number), s.Platform
	if d.Platform == "" {
		d.Platform = p.Environment["DOCKER_DEFAULT_PLATFORM"]
	}
	d.Pull = "never" // images are there before containers are
	return d, nil
}

// Image is the name of a service's image; one that is to be built has the name
// that docker compose gives it.
func Image(p *load.Project, s *types.ServiceConfig) string {
	if s.Image == "" {
		return p.Name + p.Separator + s.Name
	}
	return s.Image
}

// Resolve replaces the names of services by their containers.
func Resolve(s *types.ServiceConfig, refs map[string]string) (*types.ServiceConfig, error) {
	c := *s
	for _, mode := range []*string{&c.NetworkMode, &c.Ipc, &c.Pid} {
		if name, ok := strings.CutPrefix(*mode, types.ServicePrefix); ok {
			if refs[name] == "" {
				return nil, fmt.Errorf("service %q shares a namespace with service %s, which has no container", s.Name, name)
			}
			*mode = types.ContainerPrefix + refs[name]
		}
	}
	c.VolumesFrom = nil
	for _, from := range s.VolumesFrom {
		name, mode, _ := strings.Cut(from, ":")
		if name == "container" {
			c.VolumesFrom = append(c.VolumesFrom, mode)
			continue
		}
		if refs[name] == "" {
			return nil, fmt.Errorf("service %q takes volumes of service %s, which has no container", s.Name, name)
		}
		c.VolumesFrom = append(c.VolumesFrom, refs[name])
	}
	return &c, nil
}

// volumesFrom are Docker's, with the modes that docker compose forgets, which is why
// Resolve leaves them out of the hash.
func volumesFrom(list []string, refs map[string]string) []string {
	var out []string
	for _, from := range list {
		name, rest, ok := strings.Cut(from, ":")
		if name != "container" {
			rest = refs[name] + map[bool]string{true: ":" + rest}[ok]
		}
		out = append(out, rest)
	}
	return out
}

// Shares are the services whose containers a service's container refers to.
func Shares(s *types.ServiceConfig) []string {
	var list []string
	for _, mode := range []string{s.NetworkMode, s.Ipc, s.Pid} {
		if name, ok := strings.CutPrefix(mode, types.ServicePrefix); ok {
			list = append(list, name)
		}
	}
	for _, from := range s.VolumesFrom {
		if name, _, _ := strings.Cut(from, ":"); name != "container" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func config(s *types.ServiceConfig, labels map[string]string, w Want) *container.Config {
	c := &container.Config{
		Hostname: s.Hostname, Domainname: s.DomainName, User: s.User, Tty: s.Tty,
		OpenStdin: s.StdinOpen, StdinOnce: w.Stdin && s.StdinOpen, AttachStdin: w.Stdin,
		AttachStdout: true, AttachStderr: true,
		Cmd: s.Command, WorkingDir: s.WorkingDir,
		NetworkDisabled: s.NetworkMode == "disabled", Labels: labels, StopSignal: s.StopSignal,
		Healthcheck: health(s.HealthCheck), ExposedPorts: network.PortSet{},
	}
	if s.Entrypoint != nil {
		c.Entrypoint = []string(s.Entrypoint)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[k]; v != nil {
			k += "=" + *v
		}
		c.Env = append(c.Env, k)
	}
	if s.StopGracePeriod != nil {
		seconds := int(time.Duration(*s.StopGracePeriod).Seconds())
		c.StopTimeout = &seconds
	}
	return c
}

func health(h *types.HealthCheckConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	if h.Disable {
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	of := func(d *types.Duration) time.Duration {
		if d == nil {
			return 0
		}
		return time.Duration(*d)
	}
	c := &container.HealthConfig{
		Test: h.Test, Interval: of(h.Interval), Timeout: of(h.Timeout),
		StartPeriod: of(h.StartPeriod), StartInterval: of(h.StartInterval),
	}
	if h.Retries != nil {
		c.Retries = int(*h.Retries)
	}
	return c
}
