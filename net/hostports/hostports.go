// Package hostports wires containers on kernels without network namespaces, with
// nothing but sockets.
//
// All containers have the host's network. Each gets an address of its own in
// 127.0.0.0/8, and the names of the others lead to theirs. What a container
// declares (EXPOSE, --expose, -p) is found at its address: a service that listens
// on all addresses of the host is there by itself; for one that listens on
// 127.0.0.1 alone a forwarder stands in, once it is seen to listen. The forwarder
// must not be first: whoever listens on one address keeps others from listening
// on all.
//
// Names are found in /etc/hosts alone. A name server at the container's address would
// have port 53 of one address of the host, and so keep a name server of the host's or
// of a container's from listening on all.
//
// Two services cannot have one port. That is found before the second one starts.
// Nothing keeps containers from each other or from the host here.
package hostports

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"coracle/net/forward"
	"coracle/net/listen"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// Options are what the driver needs.
type Options struct {
	Run string // the run directory; see network.Dir
}

// Driver is the rung hostports.
type Driver struct{ opt Options }

var _ network.Driver = (*Driver)(nil)

// New makes the driver.
func New(opt Options) *Driver { return &Driver{opt} }

// Name is the rung's.
func (d *Driver) Name() string { return "hostports" }

// Kind is the same.
func (d *Driver) Kind() string { return "hostports" }

// Namespace is false.
func (d *Driver) Namespace() bool { return false }

const noSpace = "without network namespaces all containers have the host's network"

// Check says what a network asks for in vain.
func (d *Driver) Check(n *network.Network) ([]network.Cannot, error) {
	var not []network.Cannot
	switch {
	case n.Internal:
		not = append(not, network.Cannot{What: "--internal", Why: noSpace})
	case !n.Default:
		// Once, and not at each start: of a network names are wanted, too.
		not = append(not, network.Cannot{What: "isolation from other networks", Why: noSpace})
	}
	if n.EnableIPv6 {
		not = append(not, network.Cannot{What: "--ipv6", Why: "containers have one address each, of 127.0.0.0/8"})
	}
	for name := range n.Options {
		not = append(not, network.Cannot{What: "--opt " + name, Why: noSpace})
	}
	return not, nil
}

// ConflictError says that two containers would listen on one port of the host.
type ConflictError struct {
	Proto string
	Port  uint16
	Other string // the container that has it; empty: another program of the host
	// Everywhere: it listens on all addresses, this container's too, so that the
	// port cannot be carried from there.
	Everywhere bool
}

func (e *ConflictError) Error() string {
	who := "another program of the host"
	if e.Other != "" {
		who = "container " + e.Other
	}
	if e.Everywhere {
		return fmt.Sprintf("port %d/%s is taken by %s at all addresses, and %s: declare another port of this one, or let that one listen on 127.0.0.1",
			e.Port, e.Proto, who, noSpace)
	}
	return fmt.Sprintf("port %d/%s is taken by %s, and %s: let this one listen on another port (many images read it from the variable PORT, or from their configuration) and say which by -p HOST:PORT or --expose %d:PORT",
		e.Port, e.Proto, who, noSpace, e.Port)
}

// Unwrap makes it what bind(2) would have said.
func (e *ConflictError) Unwrap() error { return unix.EADDRINUSE }

// Open finds ports that are taken, and takes the host's that differ from the
// container's.
func (d *Driver) Open(_ context.Context, s *network.Sandbox) (network.Wiring, []network.Cannot, error) {
	var not []network.Cannot
	for _, n := range s.Networks {
		if n.Internal {
			not = append(not, network.Cannot{What: "network " + n.Name + ": --internal", Why: noSpace})
		} else if !n.Default && !n.Together {
			// It was made where it is kept apart.
			not = append(not, network.Cannot{What: "network " + n.Name + ": isolation from other networks", Why: noSpace})
		}
	}
	for _, ep := range s.Endpoints {
		not = append(not, asked(ep)...)
	}
	w := &wiring{d: d, s: s, refused: map[place]bool{}}
	here := listen.Look("/proc/self")
	for _, ep := range s.Endpoints {
		if err := d.conflicts(ep, s.Publish, here); err != nil {
			return nil, nil, err
		}
	}
	if len(s.Endpoints) > 0 {
		if err := w.publish(here); err != nil {
			return nil, nil, err
		}
	}
	not = append(not, w.barred()...)
	w.begin()
	return w, not, nil
}

// asked says which addresses were asked for in vain.
func asked(ep *network.Endpoint) []network.Cannot {
	var not []network.Cannot
	if ep.Asked == nil {
		return nil
	}
	for flag, list := range map[string][]netip.Addr{
		"--ip": {ep.Asked.IPv4Address}, "--ip6": {ep.Asked.IPv6Address}, "--link-local-ip": ep.Asked.LinkLocalIPs,
	} {
		for _, a := range list {
			if a.IsValid() && a != ep.IPv4.Addr() {
				not = append(not, network.Cannot{What: flag + " " + a.String(), Why: "containers have one address each, of 127.0.0.0/8"})
			}
		}
	}
	return not
}

// publish takes the published ports, when the container is on its first network. One
// that the service itself will have is only looked at.
func (w *wiring) publish(here listen.Table) error {
	w.moved = map[listen.Socket]uint16{}
	for _, ep := range w.s.Endpoints {
		for _, r := range ep.Ports {
			w.moved[listen.On(r.Proto, r.Port)] = r.At.Port()
		}
	}
	var published, take []network.Publish
	for _, p := range w.s.Publish {
		if p.Proto == "sctp" {
			return fmt.Errorf("publish %d/sctp: userspace forwarding knows tcp and udp only", p.Port)
		}
		if p.Host != p.Port || p.Host == 0 || p.Last > p.Host || w.movedAny(p) {
			take = append(take, p)
			continue
		}
		for i := range max(p.Count, 1) {
			if at := (listen.On(p.Proto, p.Host+i)); len(here[at]) > 0 {
				return &forward.TakenError{Publish: p, Addr: netip.AddrPortFrom(hostIP(p), at.Port), Err: unix.EADDRINUSE}
			}
		}
		published = append(published, p)
	}
	taken, reserved, err := forward.Reserve(take)
	if err != nil {
		return err
	}
	if err := reserved.Serve(forward.Way{To: w.to, Warn: w.s.Warn}); err != nil {
		reserved.Close()
		return err
	}
	w.published, w.reserved = append(published, taken...), reserved
	return nil
}

// unpublish gives them back, with all that is carried.
func (w *wiring) unpublish() {
	if w.reserved != nil {
		w.reserved.Close()
	}
	w.published, w.reserved = nil, nil
	clear(w.carried)
}

// movedAny tells whether the service listens for a port of p elsewhere.
func (w *wiring) movedAny(p network.Publish) bool {
	for i := range max(p.Count, 1) {
		if _, ok := w.moved[listen.On(p.Proto, p.Port+i)]; ok {
			return true
		}
	}
	return false
}

func hostIP(p network.Publish) netip.Addr {
	if p.HostIP.IsValid() {
		return p.HostIP
	}
	return netip.IPv4Unspecified()
}

// shadowed finds out whether the place of a declared port is served by somebody
// who listens on all addresses: what asks for it would be answered by another.
func shadowed(r network.Real, others []*network.Endpoint, here listen.Table) error {
	s := listen.On(r.Proto, r.Port)
	if s.Port == r.At.Port() || !slices.ContainsFunc(here[s], netip.Addr.IsUnspecified) {
		return nil
	}
	err := &ConflictError{Proto: r.Proto, Port: r.Port, Everywhere: true}
	for _, o := range others {
		if wants(o, nil)[s] {
			err.Other = o.Container
		}
	}
	return err
}

// conflicts looks whether somebody has a port on which ep's container will listen.
func (d *Driver) conflicts(ep *network.Endpoint, publish []network.Publish, here listen.Table) error {
	mine := wants(ep, publish)
	if len(mine) == 0 {
		return nil
	}
	others, err := d.others(ep.ContainerID)
	if err != nil {
		return err
	}
	for _, other := range others {
		for s := range wants(other, nil) {
			if mine[s] {
				return &ConflictError{Proto: s.Proto, Port: s.Port, Other: other.Container}
			}
		}
	}
	for _, r := range ep.Ports {
		if err := shadowed(r, others, here); err != nil {
			return err
		}
	}
	for s := range mine {
		if list := here[s]; len(list) > 0 {
			err := &ConflictError{Proto: s.Proto, Port: s.Port}
			// A forwarder of another container, which would keep this one from
			// listening on all addresses.
			if i := slices.IndexFunc(others, func(o *network.Endpoint) bool { return slices.Contains(list, o.IPv4.Addr()) }); i >= 0 {
				err.Other = others[i].Container
			}
			return err
		}
	}
	return nil
}

// wants are the ports of the host on which a container will listen.
func wants(ep *network.Endpoint, publish []network.Publish) map[listen.Socket]bool {
	out := map[listen.Socket]bool{}
	add := func(proto string, first, count uint16) {
		for i := range max(count, 1) {
			if s := listen.On(proto, first+i); s.Port != 0 && (proto == "tcp" || proto == "udp") {
				out[s] = true
			}
		}
	}
	for _, r := range ep.Exposed {
		add(r.Proto, r.First, r.Count)
	}
	for _, p := range publish {
		add(p.Proto, p.Port, p.Count)
	}
	for _, r := range ep.Ports {
		delete(out, listen.On(r.Proto, r.Port))
	}
	for _, r := range ep.Ports {
		out[listen.On(r.Proto, r.At.Port())] = true
	}
	return out
}

// connectable looks for conflicts of a container that runs, whose own ports are
// among those that are taken.
func (d *Driver) connectable(ep *network.Endpoint) error {
	if err := d.conflicts(ep, nil, listen.Table{}); err != nil || len(ep.Ports) == 0 {
		return err
	}
	others, err := d.others(ep.ContainerID)
	here := listen.Look("/proc/self")
	for i := 0; i < len(ep.Ports) && err == nil; i++ {
		err = shadowed(ep.Ports[i], others, here)
	}
	return err
}

// others are the endpoints of all other containers that are wired so.
func (d *Driver) others(self string) ([]*network.Endpoint, error) {
	dirs, err := os.ReadDir(filepath.Join(d.opt.Run, "networks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []*network.Endpoint
	for _, dir := range dirs {
		list, err := network.ReadEndpoints(network.Dir(d.opt.Run, dir.Name()))
		if err != nil {
			return nil, err
		}
		for _, ep := range list {
			if ep.ContainerID != self && ep.Rung == d.Name() {
				out = append(out, ep)
			}
		}
	}
	return out, nil
}

// Sweep has nothing to do: sockets end with the monitor.
func (d *Driver) Sweep(context.Context, *network.Sandbox) error { return nil }

// Remove has nothing to do.
func (d *Driver) Remove(context.Context, *network.Network) error { return nil }
