package spec

import (
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
)

// Valid refuses, in Docker's words, modes that do not exist or that contradict
// each other. cfg is what the user said, before the image's defaults.
func Valid(cfg *container.Config, h *container.HostConfig) error {
	switch {
	case !h.PidMode.Valid():
		return fmt.Errorf("invalid PID mode: %s", h.PidMode)
	case !h.IpcMode.Valid() || h.IpcMode.IsContainer() && h.IpcMode.Container() == "":
		return fmt.Errorf("invalid IPC mode: %s", h.IpcMode)
	case !h.UTSMode.Valid():
		return fmt.Errorf("invalid UTS mode: %s", h.UTSMode)
	case !h.UsernsMode.Valid():
		return fmt.Errorf("invalid user namespace mode: %s", h.UsernsMode)
	case !h.CgroupnsMode.Valid():
		return fmt.Errorf("invalid cgroup namespace mode: %s", h.CgroupnsMode)
	case !h.Isolation.IsDefault():
		return fmt.Errorf("invalid isolation: %q - linux only supports 'default'", h.Isolation)
	case h.Runtime != "" && h.Runtime != "coracle" && h.Runtime != "runc" && h.Runtime != "io.containerd.runc.v2":
		return fmt.Errorf("unknown or invalid runtime name: %s", h.Runtime)
	case h.VolumeDriver != "" && h.VolumeDriver != "local":
		return fmt.Errorf("error looking up volume plugin %s: plugin %q not found", h.VolumeDriver, h.VolumeDriver)
	case h.Cgroup != "":
		return errors.New("another container's cgroup: --cgroup-parent is what there is")
	case len(h.DeviceRequests) > 0:
		return errors.New(`could not select device driver "" with capabilities: [[gpu]]`)
	}
	if h.UTSMode.IsHost() && cfg.Hostname != "" {
		return errors.New("conflicting options: hostname and the UTS mode")
	}
	if h.NetworkMode.IsContainer() {
		return validJoined(cfg, h)
	}
	return nil
}

// validJoined refuses what belongs to the owner of a network that is joined.
func validJoined(cfg *container.Config, h *container.HostConfig) error {
	switch {
	case h.NetworkMode.ConnectedContainer() == "":
		return errors.New(`invalid container format container:<name|id>`)
	case cfg.Hostname != "":
		return errors.New("conflicting options: hostname and the network mode")
	case len(h.Links) > 0:
		return errors.New("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(h.DNS) > 0:
		return errors.New("conflicting options: dns and the network mode")
	case len(h.ExtraHosts) > 0:
		return errors.New("conflicting options: custom host-to-IP mapping and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return errors.New("conflicting options: port publishing and the container type network mode")
	case len(cfg.ExposedPorts) > 0:
		return errors.New("conflicting options: port exposing and the container type network mode")
	}
	return nil
}
