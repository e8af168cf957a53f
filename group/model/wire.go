package model

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"coracle/group/load"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// ports fills in what the service declares and publishes.
func ports(s *types.ServiceConfig, d *Draft) error {
	d.Host.PortBindings = network.PortMap{}
	for _, e := range s.Expose {
		r, err := network.ParsePortRange(e)
		if err != nil {
			return fmt.Errorf("expose: %q is no port", e)
		}
		for p := range r.All() {
			d.Config.ExposedPorts[p] = struct{}{}
		}
	}
	for _, p := range s.Ports {
		proto := p.Protocol
		if proto == "" {
			proto = "tcp"
		}
		port, err := network.ParsePort(fmt.Sprintf("%d/%s", p.Target, proto))
		if err != nil {
			return fmt.Errorf("ports: %w", err)
		}
		b := network.PortBinding{HostPort: p.Published}
		if p.HostIP != "" {
			if b.HostIP, err = netip.ParseAddr(strings.Trim(p.HostIP, "[]")); err != nil {
				return fmt.Errorf("ports: %q is no IP address", p.HostIP)
			}
		}
		d.Config.ExposedPorts[port] = struct{}{}
		d.Host.PortBindings[port] = append(d.Host.PortBindings[port], b)
	}
	return nil
}

// wire fills in the networks, the first of which is the one with the highest
// priority.
func wire(p *load.Project, s *types.ServiceConfig, w Want, d *Draft) error {
	d.Host.Links = links(p, s, w)
	if s.NetworkMode != "" {
		d.Host.NetworkMode = container.NetworkMode(s.NetworkMode)
		return nil
	}
	if len(p.Networks) == 0 {
		d.Host.NetworkMode = "none"
		return nil
	}
	keys := s.NetworksByPriority()
	if len(keys) == 0 {
		keys = []string{"default"}
	}
	d.Network = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for i, key := range keys {
		name := p.Networks[key].Name
		e, err := endpoint(p, s, w, s.Networks[key])
		if err != nil {
			return fmt.Errorf("network %s: %w", key, err)
		}
		e.Links = d.Host.Links
		if i == 0 {
			d.Host.NetworkMode = container.NetworkMode(name)
			if s.MacAddress != "" && len(e.MacAddress) == 0 {
				if e.MacAddress, err = hardware(s.MacAddress); err != nil {
					return err
				}
			}
		}
		d.Network.EndpointsConfig[name] = e
	}
	return nil
}

func hardware(s string) (network.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	if err != nil {
		return nil, fmt.Errorf("mac_address: %q is no MAC address", s)
	}
	return network.HardwareAddr(mac), nil
}

func endpoint(p *load.Project, s *types.ServiceConfig, w Want, c *types.ServiceNetworkConfig) (*network.EndpointSettings, error) {
	e := &network.EndpointSettings{Aliases: []string{Name(p, s, w.Number)}}
	if !w.Alone && c.ServiceNameAliasEnabled() {
		e.Aliases = append(e.Aliases, s.Name)
	}
	if c == nil {
		return e, nil
	}
	if !w.Alone {
		e.Aliases = append(e.Aliases, c.Aliases...)
	}
	e.DriverOpts, e.GwPriority = c.DriverOpts, c.GatewayPriority
	var err error
	if c.MacAddress != "" {
		if e.MacAddress, err = hardware(c.MacAddress); err != nil {
			return nil, err
		}
	}
	e.IPAMConfig = &network.EndpointIPAMConfig{}
	for _, a := range []struct {
		text string
		to   *netip.Addr
	}{{c.Ipv4Address, &e.IPAMConfig.IPv4Address}, {c.Ipv6Address, &e.IPAMConfig.IPv6Address}} {
		if a.text == "" {
			continue
		}
		if *a.to, err = netip.ParseAddr(a.text); err != nil {
			return nil, fmt.Errorf("%q is no IP address", a.text)
		}
	}
	for _, text := range c.LinkLocalIPs {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no IP address", text)
		}
		e.IPAMConfig.LinkLocalIPs = append(e.IPAMConfig.LinkLocalIPs, addr)
	}
	return e, nil
}

// links are Docker's NAME:ALIAS of links and external_links.
func links(p *load.Project, s *types.ServiceConfig, w Want) []string {
	var out []string
	for _, l := range s.Links {
		service, alias, ok := strings.Cut(l, ":")
		if !ok {
			alias = service
		}
		for _, name := range w.Links[service] {
			out = append(out, name+":"+alias, fmt.Sprintf("%s:%s%s%d", name, service, p.Separator, w.Number),
				fmt.Sprintf("%s:%s%s%s%s%d", name, p.Name, p.Separator, service, p.Separator, w.Number))
		}
	}
	for _, l := range s.ExternalLinks {
		name, alias, ok := strings.Cut(l, ":")
		if !ok {
			alias = name
		}
		out = append(out, name+":"+alias)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Network is how a project's network is to be made.
func Network(p *load.Project, key string) (network.CreateRequest, error) {
	n := p.Networks[key]
	r := network.CreateRequest{
		Name: n.Name, Driver: n.Driver, Internal: n.Internal, Attachable: n.Attachable,
		EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6, Options: n.DriverOpts,
		Labels: resourceLabels(p, n.Labels, LabelNetwork, key, NetworkHash(n)),
	}
	if n.Ipam.Driver == "" && len(n.Ipam.Config) == 0 && len(n.Ipam.Options) == 0 {
		return r, nil
	}
	r.IPAM = &network.IPAM{Driver: n.Ipam.Driver, Options: n.Ipam.Options}
	for _, pool := range n.Ipam.Config {
		c, err := subnet(pool)
		if err != nil {
			return r, fmt.Errorf("network %s: %w", key, err)
		}
		r.IPAM.Config = append(r.IPAM.Config, c)
	}
	return r, nil
}

func subnet(pool *types.IPAMPool) (c network.IPAMConfig, err error) {
	if pool.Subnet != "" {
		if c.Subnet, err = netip.ParsePrefix(pool.Subnet); err != nil {
			return c, fmt.Errorf("subnet: %q is no CIDR", pool.Subnet)
		}
	}
	if pool.IPRange != "" {
		if c.IPRange, err = netip.ParsePrefix(pool.IPRange); err != nil {
			return c, fmt.Errorf("ip_range: %q is no CIDR", pool.IPRange)
		}
	}
	if pool.Gateway != "" {
		if c.Gateway, err = netip.ParseAddr(pool.Gateway); err != nil {
			return c, fmt.Errorf("gateway: %q is no IP address", pool.Gateway)
		}
	}
	for name, text := range pool.AuxiliaryAddresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return c, fmt.Errorf("aux_addresses: %q is no IP address", text)
		}
		if c.AuxAddress == nil {
			c.AuxAddress = map[string]netip.Addr{}
		}
		c.AuxAddress[name] = addr
	}
	return c, nil
}
