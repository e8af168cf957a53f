package wiring

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/engine/record"
	"coracle/net/network"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// portsName is the file of the published ports of a container that runs, in its
// run directory.
const portsName = "ports.json"

func writePorts(dir string, list []network.Publish) error {
	if len(list) == 0 {
		err := os.Remove(filepath.Join(dir, portsName))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return record.WriteFile(filepath.Join(dir, portsName), data, 0o600, false)
}

func readPorts(dir string) []network.Publish {
	data, err := os.ReadFile(filepath.Join(dir, portsName))
	if err != nil {
		return nil
	}
	var list []network.Publish
	if json.Unmarshal(data, &list) != nil {
		return nil
	}
	return list
}

// CheckPorts refuses port bindings that cannot be understood.
func CheckPorts(h *container.HostConfig) error {
	_, err := publish(h, nil)
	return err
}

// publish makes ranges of Docker's map of single ports.
func publish(h *container.HostConfig, exposed dnetwork.PortSet) ([]network.Publish, error) {
	var list []network.Publish
	for port, bindings := range h.PortBindings {
		switch port.Proto() {
		case dnetwork.TCP, dnetwork.UDP, dnetwork.SCTP:
		default:
			return nil, fmt.Errorf("invalid protocol: %q", port.Proto())
		}
		if len(bindings) == 0 {
			bindings = []dnetwork.PortBinding{{}}
		}
		for _, b := range bindings {
			p := network.Publish{Proto: string(port.Proto()), HostIP: b.HostIP, Port: port.Num(), Count: 1}
			if err := hostPorts(&p, b.HostPort); err != nil {
				return nil, err
			}
			list = append(list, p)
		}
	}
	if h.PublishAllPorts {
		for port := range exposed {
			if _, bound := h.PortBindings[port]; !bound {
				list = append(list, network.Publish{Proto: string(port.Proto()), Port: port.Num(), Count: 1})
			}
		}
	}
	return join(list), nil
}

func hostPorts(p *network.Publish, text string) error {
	if text == "" {
		return nil
	}
	from, last, ranged := strings.Cut(text, "-")
	n, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return fmt.Errorf("invalid port binding: host port %q", text)
	}
	p.Host = uint16(n)
	if ranged {
		if n, err = strconv.ParseUint(last, 10, 16); err != nil || uint16(n) < p.Host {
			return fmt.Errorf("invalid port binding: host port %q", text)
		}
		p.Last = uint16(n)
	}
	return nil
}

// join makes one range of neighbours that lead to neighbours. The order is that
// of the host's ports, so that ports that may be chosen come last.
func join(list []network.Publish) []network.Publish {
	slices.SortFunc(list, func(a, b network.Publish) int {
		return first(cmpBool(a.Host == 0 || a.Last != 0, b.Host == 0 || b.Last != 0), strings.Compare(a.Proto, b.Proto),
			a.HostIP.Compare(b.HostIP), int(a.Host)-int(b.Host), int(a.Port)-int(b.Port))
	})
	var out []network.Publish
	for _, p := range list {
		if n := len(out); n > 0 {
			l := &out[n-1]
			if p.Host != 0 && p.Last == 0 && l.Last == 0 && l.Proto == p.Proto && l.HostIP == p.HostIP &&
				int(p.Host) == int(l.Host)+int(l.Count) && int(p.Port) == int(l.Port)+int(l.Count) {
				l.Count++
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// first is the first that is not 0.
func first(list ...int) int {
	for _, n := range list {
		if n != 0 {
			return n
		}
	}
	return 0
}

// declared are the ports that a container says it listens on.
func declared(cfg *container.Config, h *container.HostConfig) []network.PortRange {
	set := map[dnetwork.Port]bool{}
	for p := range cfg.ExposedPorts {
		set[p] = true
	}
	for p := range h.PortBindings {
		set[p] = true
	}
	var list []network.PortRange
	for p := range set {
		if p.Num() == 0 {
			continue // Docker takes it, and nobody can listen there
		}
		list = append(list, network.PortRange{Proto: string(p.Proto()), First: p.Num(), Count: 1})
	}
	slices.SortFunc(list, func(a, b network.PortRange) int {
		return first(strings.Compare(a.Proto, b.Proto), int(a.First)-int(b.First))
	})
	var out []network.PortRange
	for _, p := range list {
		if n := len(out); n > 0 && out[n-1].Proto == p.Proto && int(out[n-1].First)+int(out[n-1].Count) == int(p.First) {
			out[n-1].Count++
			continue
		}
		out = append(out, p)
	}
	return out
}

// addresses are the places that Docker shows for one published range.
func addresses(p network.Publish) []netip.Addr {
	if p.HostIP.IsValid() {
		return []netip.Addr{p.HostIP}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

// showsPorts tells whether Docker shows what a container says it listens on: not
// where it has no network, or was taken from all, or has the host's, or another's.
func showsPorts(c *record.Container) bool {
	m := c.HostConfig.NetworkMode
	if m.IsNone() || m.IsHost() || m.IsContainer() || c.Config.NetworkDisabled {
		return false
	}
	set, err := changed(c)
	return err != nil || len(set) > 0
}

// PortMap is NetworkSettings.Ports of a container.
func PortMap(c *record.Container, running bool) dnetwork.PortMap {
	out := dnetwork.PortMap{}
	if !running || !showsPorts(c) {
		return out
	}
	for _, r := range declared(c.Config, c.HostConfig) {
		for i := range r.Count {
			if port, ok := dnetwork.PortFrom(r.First+i, dnetwork.IPProtocol(r.Proto)); ok {
				out[port] = nil
			}
		}
	}
	for _, p := range readPorts(c.RunDir) {
		for i := range p.Count {
			port, ok := dnetwork.PortFrom(p.Port+i, dnetwork.IPProtocol(p.Proto))
			if !ok {
				continue
			}
			for _, a := range addresses(p) {
				out[port] = append(out[port], dnetwork.PortBinding{HostIP: a, HostPort: strconv.Itoa(int(p.Host + i))})
			}
		}
	}
	return out
}

// PortList is the ports of a line of ps.
func PortList(c *record.Container, running bool) []container.PortSummary {
	out := []container.PortSummary{}
	if !running || !showsPorts(c) {
		return out
	}
	published := map[string]bool{}
	for _, p := range readPorts(c.RunDir) {
		for i := range p.Count {
			published[fmt.Sprint(p.Port+i, "/", p.Proto)] = true
			for _, a := range addresses(p) {
				out = append(out, container.PortSummary{IP: a, PrivatePort: p.Port + i, PublicPort: p.Host + i, Type: p.Proto})
			}
		}
	}
	for _, r := range declared(c.Config, c.HostConfig) {
		for i := range r.Count {
			if !published[fmt.Sprint(r.First+i, "/", r.Proto)] {
				out = append(out, container.PortSummary{PrivatePort: r.First + i, Type: r.Proto})
			}
		}
	}
	return out
}

// errPorts says that an operation on the ports of a container failed, in
// Docker's words.
func errPorts(ep *network.Endpoint, err error) error {
	return fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", ep.Container, ep.ID, err)
}
