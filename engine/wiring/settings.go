package wiring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/engine/record"
	"coracle/net/network"
	"coracle/net/objects"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// Settings are what a container asks for of each of its networks, by name.
type Settings map[string]*dnetwork.EndpointSettings

func settingsPath(c *record.Container) string { return filepath.Join(c.Dir(), "networks.json") }

// settings are those of c, as it was made or as they were changed since, and the
// names in the order of the interfaces.
func (m *Manager) settings(c *record.Container) ([]string, Settings, error) {
	set, err := changed(c)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		set = Settings{}
		maps.Copy(set, c.Networks)
		if name := Primary(c.HostConfig.NetworkMode); set[name] == nil && len(c.Networks) == 0 {
			set[name] = &dnetwork.EndpointSettings{}
		}
	default:
		return nil, nil, err
	}
	first := Primary(c.HostConfig.NetworkMode)
	names := slices.Collect(maps.Keys(set))
	slices.SortFunc(names, func(a, b string) int {
		if (a == first) != (b == first) {
			if a == first {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names, set, nil
}

// changed are the settings of c as connect and disconnect left them; an error that
// wraps [fs.ErrNotExist] where neither was called.
func changed(c *record.Container) (set Settings, err error) {
	data, err := os.ReadFile(settingsPath(c))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("damaged networks of container %s: %w", c.ID[:12], err)
	}
	return set, nil
}

// keep writes changed settings; with the container's object lock.
func keep(c *record.Container, set Settings) error {
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return record.WriteFile(settingsPath(c), append(data, '\n'), 0o600, true)
}

// Resolve checks what a new container asks for and returns it by the networks'
// names.
func (m *Manager) Resolve(cfg *container.Config, h *container.HostConfig, want map[string]*dnetwork.EndpointSettings) (Settings, error) {
	mode := h.NetworkMode
	if mode.IsHost() || mode.IsNone() || mode.IsContainer() || cfg.NetworkDisabled {
		for name := range want {
			if Primary(mode) != name {
				return nil, &Refusal{fmt.Errorf("conflicting options: cannot attach both user-defined and non-user-defined network-modes")}
			}
		}
		if len(h.Links) > 0 && mode.IsHost() {
			return nil, &Refusal{errors.New("conflicting options: host type networking can't be used with links. This would result in undefined behavior")}
		}
		return nil, nil
	}
	if m.Rung == "host" || m.Rung == "" {
		if mode.IsDefault() || mode == "" {
			return nil, nil
		}
		return nil, &Unavailable{fmt.Errorf("network %s: this rung of wiring has no networks (none and host are)", mode)}
	}
	set := Settings{}
	if err := m.Store.Defaults(used(nil)); err != nil {
		return nil, err
	}
	primary, err := m.Find(Primary(mode))
	if err != nil {
		return nil, err
	}
	set[primary.Name] = &dnetwork.EndpointSettings{}
	if mode.IsUserDefined() {
		h.NetworkMode = container.NetworkMode(primary.Name)
	}
	for ref, s := range want {
		n, err := m.Find(ref)
		if ref == "default" {
			n, err = primary, nil
		}
		if err != nil {
			return nil, err
		}
		if s == nil {
			s = &dnetwork.EndpointSettings{}
		}
		if err := m.checkSettings(n, s); err != nil {
			return nil, err
		}
		set[n.Name] = s
	}
	return set, nil
}

// Find finds a network, in Docker's words where it is not there.
func (m *Manager) Find(ref string) (*network.Network, error) {
	n, err := m.Store.Find(ref)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil, &NotFound{fmt.Errorf("network %s not found", ref)}
	case errors.Is(err, objects.ErrAmbiguous):
		return nil, &Refusal{fmt.Errorf("network %s is ambiguous (2 matches found based on ID prefix)", ref)}
	}
	return n, err
}

// checkSettings refuses what cannot be had of a network.
func (m *Manager) checkSettings(n *network.Network, s *dnetwork.EndpointSettings) error {
	if n.Driver != "bridge" {
		return &Refusal{fmt.Errorf("container cannot be connected to network %s with others", n.Name)}
	}
	if n.Default && len(s.Aliases) > 0 {
		return &Refusal{errors.New("network-scoped aliases are only supported for user-defined networks")}
	}
	if _, err := sysctlsOf(s.DriverOpts, ""); err != nil {
		return &Refusal{err}
	}
	c := s.IPAMConfig
	if c != nil {
		for _, a := range c.LinkLocalIPs {
			if !a.IsLinkLocalUnicast() {
				return &Refusal{fmt.Errorf("invalid link local IP address: %s", a)}
			}
		}
	}
	if c == nil || !c.IPv4Address.IsValid() && !c.IPv6Address.IsValid() {
		return nil
	}
	if n.Default {
		return &Refusal{errors.New("invalid endpoint settings:\nuser-specified IP address is supported on user defined networks only")}
	}
	if slices.ContainsFunc(n.Chosen, func(p netip.Prefix) bool {
		return c.IPv4Address.IsValid() && p.Addr().Is4() || c.IPv6Address.IsValid() && p.Addr().Is6()
	}) {
		return &Refusal{errors.New("invalid endpoint settings:\nuser-specified IP address is supported only when connecting to networks with user configured subnets")}
	}
	for _, a := range []struct {
		what string
		ok   bool
	}{
		{c.IPv4Address.String(), !c.IPv4Address.IsValid() || within(n, c, false)},
		{c.IPv6Address.String(), !c.IPv6Address.IsValid() || within(n, c, true)},
	} {
		if !a.ok {
			return &Refusal{fmt.Errorf("invalid endpoint settings:\nno configured subnet contains IP address %s", a.what)}
		}
	}
	return nil
}

func within(n *network.Network, c *dnetwork.EndpointIPAMConfig, v6 bool) bool {
	a := c.IPv4Address
	if v6 {
		a = c.IPv6Address
	}
	return slices.ContainsFunc(n.IPAM.Config, func(s dnetwork.IPAMConfig) bool { return s.Subnet.Contains(a) })
}
