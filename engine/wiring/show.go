package wiring

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/engine/netfiles"
	"coracle/engine/record"
	"coracle/net/network"
	"coracle/net/objects"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// Describe completes the record of a new container: the networks that it is to be
// on. It refuses what cannot be had, and warns of what is discarded.
func (m *Manager) Describe(c *record.Container, want *dnetwork.NetworkingConfig, warn func(string)) error {
	if err := CheckPorts(c.HostConfig); err != nil {
		return &Refusal{err}
	}
	endpoints := map[string]*dnetwork.EndpointSettings{}
	if want != nil {
		endpoints = want.EndpointsConfig
	}
	set, err := m.Resolve(c.Config, c.HostConfig, endpoints)
	if err != nil {
		return err
	}
	c.Networks = set
	published := len(c.HostConfig.PortBindings) > 0 || c.HostConfig.PublishAllPorts
	switch mode := c.HostConfig.NetworkMode; {
	case mode.IsHost() && published:
		warn("Published ports are discarded when using host network mode")
	case !Wired(c) && !mode.IsNone() && !mode.IsContainer() && published:
		warn("published ports: the container has the host's network, where it listens itself")
	}
	if Wired(c) {
		return m.checkLinks(c)
	}
	if len(c.HostConfig.Links) > 0 {
		warn("--link: containers have the host's network")
	}
	return nil
}

// Files writes hosts, hostname and resolv.conf for a container that is not wired.
// For one that is, Begin does; here they are made, because they are mounted.
func Files(c *record.Container) error {
	if !Wired(c) {
		return netfiles.Write(c.RunDir, c.Config, c.HostConfig, nil)
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		f, err := os.OpenFile(filepath.Join(c.RunDir, name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// Networks is how Docker shows the networks that a container is on.
func (m *Manager) Networks(c *record.Container, running bool) map[string]*dnetwork.EndpointSettings {
	out := map[string]*dnetwork.EndpointSettings{}
	if !Wired(c) {
		name := objects.Host
		switch {
		case c.HostConfig.NetworkMode.IsNone() || c.Config.NetworkDisabled:
			name = objects.None
		case c.HostConfig.NetworkMode.IsContainer():
			return out
		}
		es := &dnetwork.EndpointSettings{}
		if n, err := m.Store.Named(name); err == nil {
			es.NetworkID = n.ID
		}
		out[name] = es
		return out
	}
	names, set, err := m.settings(c)
	if err != nil {
		return out
	}
	for _, name := range names {
		es := set[name].Copy()
		if es == nil {
			es = &dnetwork.EndpointSettings{}
		}
		if n, err := m.Store.Named(name); err == nil {
			es.NetworkID = n.ID
			if ep, err := m.Store.Endpoint(n.ID, c.ID); err == nil && running {
				place(es, ep, n)
			}
			es.DNSNames = nil
			if !n.Default {
				es.DNSNames = dnsNames(c, es.Aliases)
			}
		}
		out[name] = es
	}
	return out
}

// place fills in where an endpoint is.
func place(es *dnetwork.EndpointSettings, ep *network.Endpoint, n *network.Network) {
	es.EndpointID, es.MacAddress = ep.ID, ep.MAC
	if ep.IPv4.IsValid() {
		es.IPAddress, es.IPPrefixLen = ep.IPv4.Addr(), ep.IPv4.Bits()
	}
	if ep.IPv6.IsValid() {
		es.GlobalIPv6Address, es.GlobalIPv6PrefixLen = ep.IPv6.Addr(), ep.IPv6.Bits()
	}
	es.Gateway, es.IPv6Gateway = ep.Gateway4, ep.Gateway6
}

// Settings is NetworkSettings of inspect.
func (m *Manager) Settings(c *record.Container, running bool, pid int) *container.NetworkSettings {
	s := &container.NetworkSettings{Ports: PortMap(c, running), Networks: m.Networks(c, running)}
	if running {
		s.SandboxID = c.ID
		if Own(c) || c.HostConfig.NetworkMode.IsNone() {
			s.SandboxKey = "/proc/" + strconv.Itoa(pid) + "/ns/net"
		}
	}
	return s
}

// On tells whether a container is on the network that ref means.
func (m *Manager) On(c *record.Container, ref string) bool {
	for name, es := range m.Networks(c, false) {
		if name == ref || es.NetworkID != "" && strings.HasPrefix(es.NetworkID, ref) && ref != "" {
			return true
		}
	}
	return false
}

// Publishes tells whether a port of ps's filter "publish" is published by c.
func Publishes(c *record.Container, running bool, text string) bool {
	if !running {
		return false
	}
	ports, proto, ok := strings.Cut(text, "/")
	if !ok {
		proto = "tcp"
	}
	from, to, _ := strings.Cut(ports, "-")
	low, err := strconv.Atoi(from)
	if err != nil {
		return false
	}
	high := low
	if to != "" {
		if high, err = strconv.Atoi(to); err != nil {
			return false
		}
	}
	return slices.ContainsFunc(readPorts(c.RunDir), func(p network.Publish) bool {
		first, last := int(p.Host), int(p.Host)+int(p.Count)-1
		return p.Proto == proto && first <= high && low <= last
	})
}

// addr is a prefix's address as text; "" for none.
func addr(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.Addr().String()
}
