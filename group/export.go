package group

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
)

// Export is the Compose file of a group's containers. image is the configuration
// of a container's image: what comes from there is left out.
func Export(name string, state *plan.State, inspect func(id string) (*container.InspectResponse, *dockerspec.DockerOCIImageConfig, error)) ([]byte, error) {
	p := &types.Project{Name: name, Services: types.Services{}, Volumes: types.Volumes{}}
	for _, service := range state.Services() {
		list := state.Of(service)
		i, image, err := inspect(list[0].ID)
		if err != nil {
			return nil, err
		}
		s := export(i, image, p.Volumes)
		s.Name, s.DependsOn = service, list[0].Depends
		if len(list) > 1 {
			n := len(list)
			s.Scale = &n
		}
		if got := list[0].Name; got != strings.Join([]string{name, service, "1"}, "-") && len(list) == 1 {
			s.ContainerName = got
		}
		p.Services[service] = s
	}
	return p.MarshalYAML()
}

func export(i *container.InspectResponse, image *dockerspec.DockerOCIImageConfig, volumes types.Volumes) types.ServiceConfig {
	c, h := i.Config, i.HostConfig
	s := types.ServiceConfig{}
	s.Image, s.Tty, s.StdinOpen, s.Privileged, s.ReadOnly, s.Init = c.Image, c.Tty, c.OpenStdin, h.Privileged, h.ReadonlyRootfs, h.Init
	if !slices.Equal(c.Cmd, image.Cmd) {
		s.Command = types.ShellCommand(c.Cmd)
	}
	if !slices.Equal(c.Entrypoint, image.Entrypoint) {
		s.Entrypoint = types.ShellCommand(c.Entrypoint)
	}
	for _, set := range []struct {
		to            *string
		value, common string
	}{
		{&s.User, c.User, image.User}, {&s.WorkingDir, c.WorkingDir, image.WorkingDir}, {&s.StopSignal, c.StopSignal, image.StopSignal},
		{&s.Hostname, c.Hostname, i.ID[:12]}, {&s.NetworkMode, string(h.NetworkMode), "default"}, {&s.Pid, string(h.PidMode), ""},
	} {
		if set.value != set.common {
			*set.to = set.value
		}
	}
	if s.NetworkMode == "bridge" {
		s.NetworkMode = ""
	}
	for _, kv := range c.Env {
		if !slices.Contains(image.Env, kv) {
			k, v, _ := strings.Cut(kv, "=")
			if s.Environment == nil {
				s.Environment = types.MappingWithEquals{}
			}
			s.Environment[k] = &v
		}
	}
	for k, v := range c.Labels {
		if !strings.HasPrefix(k, "com.docker.compose.") && image.Labels[k] != v {
			if s.Labels == nil {
				s.Labels = types.Labels{}
			}
			s.Labels[k] = v
		}
	}
	if c.StopTimeout != nil {
		d := types.Duration(time.Duration(*c.StopTimeout) * time.Second)
		s.StopGracePeriod = &d
	}
	s.CapAdd, s.CapDrop, s.SecurityOpt, s.GroupAdd, s.Sysctls = h.CapAdd, h.CapDrop, h.SecurityOpt, h.GroupAdd, h.Sysctls
	s.MemLimit, s.CPUS = types.UnitBytes(h.Memory), float32(h.NanoCPUs)/1e9
	s.HealthCheck = exportHealth(c.Healthcheck, image.Healthcheck)
	if n := h.RestartPolicy; !n.IsNone() {
		s.Restart = string(n.Name)
		if n.MaximumRetryCount > 0 {
			s.Restart += ":" + strconv.Itoa(n.MaximumRetryCount)
		}
	}
	exportPorts(h, &s)
	exportVolumes(h, &s, volumes)
	return s
}

func exportHealth(h, image *container.HealthConfig) *types.HealthCheckConfig {
	if h == nil || image != nil && slices.Equal(h.Test, image.Test) {
		return nil
	}
	of := func(d time.Duration) *types.Duration {
		if d == 0 {
			return nil
		}
		t := types.Duration(d)
		return &t
	}
	out := &types.HealthCheckConfig{Test: h.Test, Interval: of(h.Interval), Timeout: of(h.Timeout), StartPeriod: of(h.StartPeriod), StartInterval: of(h.StartInterval)}
	if h.Retries > 0 {
		n := uint64(h.Retries)
		out.Retries = &n
	}
	return out
}

func exportPorts(h *container.HostConfig, s *types.ServiceConfig) {
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			p := types.ServicePortConfig{Mode: "ingress", Target: uint32(port.Num()), Protocol: string(port.Proto()), Published: b.HostPort}
			if b.HostIP.IsValid() {
				p.HostIP = b.HostIP.String()
			}
			s.Ports = append(s.Ports, p)
		}
	}
	slices.SortFunc(s.Ports, func(a, b types.ServicePortConfig) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

func exportVolumes(h *container.HostConfig, s *types.ServiceConfig, volumes types.Volumes) {
	for _, b := range h.Binds {
		part := strings.SplitN(b, ":", 3)
		if len(part) < 2 {
			continue
		}
		v := types.ServiceVolumeConfig{Type: types.VolumeTypeVolume, Source: part[0], Target: part[1]}
		if strings.HasPrefix(part[0], "/") {
			v.Type = types.VolumeTypeBind
		} else {
			// The volume is there, and is not the project's.
			volumes[part[0]] = types.VolumeConfig{Name: part[0], External: true}
		}
		v.ReadOnly = len(part) > 2 && slices.Contains(strings.Split(part[2], ","), "ro")
		s.Volumes = append(s.Volumes, v)
	}
	for _, m := range h.Mounts {
		v := types.ServiceVolumeConfig{Type: string(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			volumes[v.Source] = types.VolumeConfig{Name: v.Source, External: true}
		}
		s.Volumes = append(s.Volumes, v)
	}
	for _, dir := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		text := dir
		if o := h.Tmpfs[dir]; o != "" {
			text += ":" + o
		}
		s.Tmpfs = append(s.Tmpfs, text)
	}
}
