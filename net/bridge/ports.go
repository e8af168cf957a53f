package bridge

import (
	"errors"
	"fmt"
	"net/netip"

	"coracle/net/forward"
	"coracle/net/nat"
	"coracle/net/network"
)

// ports are the published ports of a container, as they were taken.
type ports struct {
	taken    []network.Publish // HostIP as it was asked for, Host chosen
	reserved *forward.Reserved
}

// publish leads the published ports to where the container is now. It takes them
// when the first network leads out, and gives them back when none does, as Docker
// does. Where it fails the container has none.
func (w *wiring) publish() error {
	at := network.Inward(w.s.Endpoints)
	w.where.Store(&at)
	switch {
	case len(w.s.Publish) == 0:
		return nil
	case !at.IsValid():
		return w.unpublish()
	}
	f, again := w.d.opt.Firewall, w.ports.reserved != nil
	err := w.take()
	if err == nil && f != nil && again {
		err = f.DropContainer(w.s.ContainerID)
	}
	if err == nil && f != nil {
		err = f.PutContainer(w.ports.container(w.s.Endpoints))
	}
	if err != nil {
		return errors.Join(err, w.unpublish())
	}
	return nil
}

// take takes the ports by sockets, so that nobody else does, and for what the packet
// filter does not lead away (127.0.0.1, [::1], IPv6 to a container that has none).
func (w *wiring) take() error {
	if w.ports.reserved != nil {
		return nil
	}
	var sockets, filtered []network.Publish
	for _, p := range w.s.Publish {
		switch {
		case p.Proto != "sctp":
			sockets = append(sockets, p)
		case w.d.opt.Firewall == nil:
			return fmt.Errorf("publish %d/sctp: SCTP needs a packet filter, and this kernel has none for us", p.Port)
		default:
			if p.Host == 0 {
				p.Host = p.Port
			}
			filtered = append(filtered, p)
		}
	}
	taken, reserved, err := forward.Reserve(sockets)
	if err != nil {
		return err
	}
	w.ports = ports{append(filtered, taken...), reserved}
	return reserved.Serve(forward.Way{To: w.target, Warn: w.s.Warn})
}

// unpublish gives the ports back.
func (w *wiring) unpublish() error {
	if w.ports.reserved == nil {
		return nil
	}
	w.ports.reserved.Close()
	w.ports = ports{}
	if w.d.opt.Firewall == nil {
		return nil
	}
	return w.d.opt.Firewall.DropContainer(w.s.ContainerID)
}

// target is where the forwarder finds the container.
func (w *wiring) target(_ string, port uint16) (netip.AddrPort, bool) {
	a := *w.where.Load()
	return netip.AddrPortFrom(a, port), a.IsValid()
}

// container is what the packet filter is to know of the ports.
func (p *ports) container(list []*network.Endpoint) *nat.Container {
	c := &nat.Container{}
	if len(list) > 0 {
		c.ID = list[0].ContainerID
	}
	for _, pub := range p.taken {
		for _, v6 := range []bool{false, true} {
			ep := network.Way(list, v6)
			if ep == nil || !served(pub.HostIP, v6) {
				continue
			}
			port := nat.Port{Proto: pub.Proto, Host: pub.Host, Port: pub.Port, Count: pub.Count, To: ep.IPv4.Addr()}
			if v6 {
				port.To = ep.IPv6.Addr()
			}
			if pub.HostIP.IsValid() && !pub.HostIP.IsUnspecified() {
				port.HostIP = pub.HostIP
			}
			c.Ports = append(c.Ports, port)
		}
	}
	return c
}

// served tells whether the packet filter of a family has a say about a host's
// address. Loopback never leaves the host.
func served(host netip.Addr, v6 bool) bool {
	return !host.IsValid() || host.Is6() == v6 && !host.IsLoopback()
}

// Ports are those that were taken.
func (w *wiring) Ports() []network.Publish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ports.taken
}
