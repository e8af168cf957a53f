package command

import (
	"errors"
	"slices"
	"strings"

	"coracle/cmd/coracle/opts"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/urfave/cli/v2"
)

// networkFlags are those of run and create about networks.
func networkFlags() []cli.Flag {
	return []cli.Flag{
		list("add-host", "", "Add a custom host-to-IP mapping (host:ip)"),
		list("dns", "", "Set custom DNS servers"),
		list("expose", "", "Expose a port or a range of ports (PORT:SERVED where the program listens on another, for wiring=hostports)"),
		text("ip", "", "IPv4 address (e.g., 172.30.100.104)"),
		text("ip6", "", "IPv6 address (e.g., 2001:db8::33)"),
		list("link", "", "Add link to another container"),
		list("link-local-ip", "", "Container IPv4/IPv6 link-local addresses"),
		text("mac-address", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
		list("network", "", "`network` Connect a container to a network"),
		&cli.StringSliceFlag{Name: "net", Usage: "`network` The same as --network", Hidden: true, KeepSpace: true},
		list("network-alias", "", "Add network-scoped alias for the container"),
		&cli.StringSliceFlag{Name: "net-alias", Usage: "The same as --network-alias", Hidden: true, KeepSpace: true},
		list("publish", "p", "Publish a container's port(s) to the host"),
		toggle("publish-all", "P", "Publish all exposed ports to random ports"),
	}
}

func (s *settings) fillNetwork() error {
	if err := s.fillNames(); err != nil {
		return err
	}
	if err := s.fillPorts(); err != nil {
		return err
	}
	names := append(s.c.StringSlice("network"), s.c.StringSlice("net")...)
	if len(names) == 0 {
		names = []string{"default"}
	}
	aliases := append(s.c.StringSlice("network-alias"), s.c.StringSlice("net-alias")...)
	s.Networking = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for i, value := range names {
		a, err := opts.Network(value)
		if err != nil {
			return s.v.badValue("network", value, err)
		}
		if i == 0 {
			err := a.Ask(s.c.String("ip"), s.c.String("ip6"), s.c.String("mac-address"), s.c.StringSlice("link-local-ip"), aliases)
			if err != nil {
				return err
			}
			s.Host.NetworkMode = container.NetworkMode(a.Name)
			s.Host.Links = s.c.StringSlice("link")
			if slices.Contains(s.Host.Links, "") {
				return s.v.badValue("link", "", errors.New("empty string specified for links"))
			}
		}
		if s.Networking.EndpointsConfig[a.Name] != nil {
			return errors.New("network \"" + a.Name + "\" is specified multiple times")
		}
		if mode := container.NetworkMode(a.Name); len(names) > 1 && (mode.IsHost() || mode.IsNone() || mode.IsContainer()) {
			return errors.New("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
		}
		s.Networking.EndpointsConfig[a.Name] = &a.EndpointSettings
	}
	if len(names) == 1 && asksNothing(s.Networking.EndpointsConfig[string(s.Host.NetworkMode)]) {
		s.Networking = nil
		return nil
	}
	if mode := s.Host.NetworkMode; mode.IsHost() || mode.IsNone() || mode.IsContainer() {
		return s.forUserDefined(aliases)
	}
	return nil
}

// forUserDefined says why a mode has no room for what is asked.
func (s *settings) forUserDefined(aliases []string) error {
	if len(aliases) > 0 {
		return errors.New("network-scoped aliases are only supported for user-defined networks")
	}
	if s.c.String("ip")+s.c.String("ip6") != "" {
		return errors.New("invalid endpoint settings:\nuser-specified IP address is supported on user defined networks only")
	}
	if s.c.String("mac-address") != "" {
		return errors.New("conflicting options: mac-address and the network mode")
	}
	return errors.New("conflicting options: endpoint settings and the network mode")
}

func asksNothing(e *network.EndpointSettings) bool {
	return e == nil || e.IPAMConfig == nil && len(e.Aliases) == 0 && len(e.MacAddress) == 0 && len(e.DriverOpts) == 0 && e.GwPriority == 0
}

func (s *settings) fillNames() error {
	var err error
	if s.Host.ExtraHosts, err = opts.Hosts(s.c.StringSlice("add-host")); err != nil {
		return s.v.badValue("add-host", strings.Join(s.c.StringSlice("add-host"), ","), err)
	}
	if s.Host.DNS, err = opts.Addrs(s.c.StringSlice("dns")); err != nil {
		return s.v.badValue("dns", strings.Join(s.c.StringSlice("dns"), ","), err)
	}
	return nil
}

func (s *settings) fillPorts() error {
	var err error
	if s.Host.PortBindings, err = opts.Publish(s.c.StringSlice("publish")); err != nil {
		return err
	}
	s.Host.PublishAllPorts = s.c.Bool("publish-all")
	if s.Config.ExposedPorts, s.Served, err = opts.Expose(s.c.StringSlice("expose")); err != nil {
		return err
	}
	for p := range s.Host.PortBindings {
		if s.Config.ExposedPorts == nil {
			s.Config.ExposedPorts = network.PortSet{}
		}
		s.Config.ExposedPorts[p] = struct{}{}
	}
	return nil
}
