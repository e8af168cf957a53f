package wiring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"coracle/backends/isolate"
	"coracle/engine/record"
	"coracle/net/network"
	"coracle/net/objects"

	dnetwork "github.com/moby/moby/api/types/network"
)

// Run is the wiring of a container that runs, or is being started, in its
// monitor.
type Run struct {
	m *Manager
	c *record.Container
	d network.Driver
	s *network.Sandbox
	w network.Wiring
	// told: the events say that the container is connected.
	told bool

	mu      sync.Mutex
	control *control
	pid     int // of the container's first process
	names   *known
	do      network.Doer
}

// Begin leases addresses and begins to wire c; what it did is undone where it
// fails. nil where c is not wired.
func (m *Manager) Begin(ctx context.Context, c *record.Container) (_ *Run, err error) {
	if !Wired(c) {
		return nil, nil
	}
	d, err := m.Driver(c.Drivers.Wiring)
	if err != nil {
		return nil, err
	}
	r := &Run{m: m, c: c, d: d}
	r.s = &network.Sandbox{
		ContainerID: c.ID, Container: c.Name, RunDir: c.RunDir, Networks: map[string]*network.Network{},
		UserNS: c.Drivers.Isolation == "userns", Warn: m.Warn,
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := r.lease(ctx); err != nil {
		return nil, err
	}
	if err := r.publish(); err != nil {
		return nil, err
	}
	w, not, err := d.Open(ctx, r.s)
	if err != nil {
		if len(r.s.Endpoints) > 0 {
			err = errPorts(r.s.Endpoints[0], err)
		}
		return nil, fmt.Errorf("failed to set up container networking: %w", err)
	}
	r.w = w
	if len(c.Served) > 0 && d.Namespace() {
		not = append(not, network.Cannot{What: "--expose PORT:SERVED", Why: "the container has a network of its own, where others reach its ports as they are"})
	}
	if err := m.say(not); err != nil {
		return nil, err
	}
	if err := writePorts(c.RunDir, w.Ports()); err != nil {
		return nil, err
	}
	if err := r.files(); err != nil {
		return nil, err
	}
	for _, ep := range r.s.Endpoints {
		m.happened("connect", r.s.Network(ep), c.ID)
	}
	r.told = true
	return r, nil
}

// say warns of what cannot be honoured, or fails.
func (m *Manager) say(not []network.Cannot) error {
	for _, n := range not {
		if m.Strict {
			return &Unavailable{errors.New(n.String())}
		}
		m.Warn(n.String())
	}
	return nil
}

// lease gives the container a place on each of its networks.
func (r *Run) lease(ctx context.Context) error {
	names, set, err := r.m.settings(r.c)
	if err != nil {
		return err
	}
	if err := r.m.Store.Defaults(used(nil)); err != nil {
		return err
	}
	for _, name := range names {
		n, err := r.m.Find(name)
		if err != nil {
			return err
		}
		ep, err := r.join(ctx, n, set[name])
		if err != nil {
			return err
		}
		r.s.Endpoints = append(r.s.Endpoints, ep)
	}
	return nil
}

// publish says what is to be published, with the addresses of the host that the
// network with the way out asks for; more are endpoints that are yet to come.
func (r *Run) publish(more ...*network.Endpoint) error {
	list, err := publish(r.c.HostConfig, r.c.Config.ExposedPorts)
	if err != nil {
		return &Refusal{err}
	}
	bind(list, r.s, append(slices.Clone(r.s.Endpoints), more...))
	r.s.Publish = list
	return nil
}

// join leases a place on one network.
func (r *Run) join(ctx context.Context, n *network.Network, set *dnetwork.EndpointSettings) (*network.Endpoint, error) {
	r.m.bury(ctx, n.ID, r.c.ID)
	if err := r.vacant(n); err != nil {
		return nil, err
	}
	if set == nil {
		set = &dnetwork.EndpointSettings{}
	}
	ep := endpoint(r.c, n, set)
	ep.Inner = inner(n, set, r.s.Endpoints)
	links, err := r.m.links(r.c, n, set.Links)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if ep.Links == nil {
			ep.Links = map[string]string{}
		}
		ep.Links[strings.ToLower(l.alias)] = l.to
	}
	loopback := !r.d.Namespace()
	err = r.m.Store.Lease(n, ep, loopback, func(others []*network.Endpoint) error { return r.company(n, others) })
	if err != nil {
		if errors.Is(err, objects.ErrNotFound) {
			return nil, &NotFound{fmt.Errorf("network %s not found", n.Name)}
		}
		return nil, fmt.Errorf("failed to set up container networking: %w", err)
	}
	// Another map, because the driver may be reading this one.
	r.s.Networks = maps.Clone(r.s.Networks)
	r.s.Networks[n.ID] = n
	return ep, nil
}

// vacant moves a network whose subnet we chose, and which the host has a route
// into by now, before anybody is on it.
func (r *Run) vacant(n *network.Network) error {
	if len(n.Chosen) == 0 || !r.d.Namespace() {
		return nil
	}
	if list, err := r.m.Store.Endpoints(n.ID); err != nil || len(list) > 0 {
		return err
	}
	taken := used(n)()
	for _, c := range n.Chosen {
		if slices.ContainsFunc(taken, c.Overlaps) {
			return r.m.Store.Again(n, taken)
		}
	}
	return nil
}

// company refuses a network on which containers of another kind of wiring are.
func (r *Run) company(n *network.Network, others []*network.Endpoint) error {
	for _, o := range others {
		d, err := r.m.Driver(o.Rung)
		if err != nil || d == nil || d.Kind() == r.d.Kind() || !r.m.alive(o.ContainerID) {
			continue
		}
		return fmt.Errorf("network %s: container %s on it is wired by %s, which does not go with %s", n.Name, o.Container, o.Rung, r.d.Name())
	}
	return nil
}

// endpoint is what is to be leased.
func endpoint(c *record.Container, n *network.Network, set *dnetwork.EndpointSettings) *network.Endpoint {
	ep := &network.Endpoint{
		ID: objects.NewID(), NetworkID: n.ID, NetworkName: n.Name, ContainerID: c.ID, Container: c.Name,
		Rung: c.Drivers.Wiring, Boot: record.Boot(),
		Exposed: declared(c.Config, c.HostConfig),
	}
	for _, p := range c.Served {
		ep.Ports = append(ep.Ports, network.Real{Proto: p.Proto, Port: p.Port, At: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.At)})
	}
	ep.Outer = "cv-" + ep.ID[:12]
	ep.Asked, ep.MAC, ep.GwPriority, ep.DriverOpts = set.IPAMConfig, set.MacAddress, set.GwPriority, set.DriverOpts
	ep.Names = dnsNames(c, set.Aliases)
	return ep
}

// dnsNames are Docker's: the container's name, the aliases, its short ID, and
// its host name.
func dnsNames(c *record.Container, aliases []string) []string {
	all := append(append([]string{c.Name}, aliases...), c.ID[:12])
	// On the chroot rung, and with --uts host, it is the host's own name.
	if host, err := os.Hostname(); err != nil || c.Config.Hostname != host {
		all = append(all, c.Config.Hostname)
	}
	var out []string
	for _, name := range all {
		name = strings.ToLower(name)
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Wire is isolate.Bundle's: the first process waits meanwhile.
func (r *Run) Wire(pid int) (*isolate.Net, error) {
	if !r.d.Namespace() {
		return nil, nil
	}
	if err := r.w.Attach(pid); err != nil {
		return nil, err
	}
	n, err := r.w.Inside()
	if err != nil {
		return nil, err
	}
	if n == nil {
		n = &isolate.Net{}
	}
	n.Sysctls = append(n.Sysctls, sysctls(r.c)...)
	for _, ep := range r.s.Endpoints {
		own, err := sysctlsOf(ep.DriverOpts, ep.Inner)
		if err != nil {
			return nil, err
		}
		n.Sysctls = append(n.Sysctls, own...)
	}
	if r.served() {
		n.Sockets = append(n.Sockets, r.sockets()...)
	}
	return n, nil
}

// sysctls are Docker's: root's ports and ping are for every user of a container
// that has a network of its own. Where the user says otherwise, the user's are
// written later.
func sysctls(c *record.Container) []isolate.NetSysctl {
	if c.Drivers.Isolation == "userns" {
		return nil
	}
	return []isolate.NetSysctl{
		{Path: "ipv4/ip_unprivileged_port_start", Value: "0"},
		{Path: "ipv4/ping_group_range", Value: "0 2147483647"},
	}
}

// Opened is isolate.Bundle's: the descriptors that the first process opened.
func (r *Run) Opened(files map[string]*os.File) error {
	mine := map[string]*os.File{}
	for _, name := range []string{dnsUDP, dnsTCP} {
		if f := files[name]; f != nil {
			mine[name] = f
			delete(files, name)
		}
	}
	err := r.w.Opened(files)
	if len(mine) > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		err = errors.Join(err, r.serve(mine))
	}
	return err
}

// Close undoes all that Begin and what followed it did.
func (r *Run) Close() error {
	if r == nil {
		return nil
	}
	r.control.stop()
	r.names.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	var failed error
	if r.w != nil {
		failed = r.w.Close()
	}
	down := failed == nil
	for _, ep := range r.s.Endpoints {
		if down {
			// Else the lease stays, by which Sweep finds what is left.
			failed = errors.Join(failed, r.m.free(ep))
		}
		if r.told {
			r.m.happened("disconnect", r.s.Network(ep), r.c.ID)
		}
	}
	writePorts(r.c.RunDir, nil)
	return failed
}

func (r *Run) path(name string) string { return filepath.Join(r.c.RunDir, name) }
