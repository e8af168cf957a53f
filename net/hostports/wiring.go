package hostports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"coracle/backends/isolate"
	"coracle/net/forward"
	"coracle/net/listen"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

const (
	// A service is looked for often while it starts, and seldom later.
	soon, later = 50 * time.Millisecond, time.Second
	starting    = 15 * time.Second
	// mostCarried bounds the declared ports of one endpoint that are carried.
	mostCarried = 16384
)

// place is where a declared port is to be found.
type place struct {
	proto string
	at    netip.AddrPort // on the container's own address
	real  uint16         // the port that the service listens on
}

// wiring is one sandbox.
type wiring struct {
	d *Driver
	s *network.Sandbox
	// moved are declared ports that the service serves at another one; they stay as they
	// are while reserved is served.
	moved map[listen.Socket]uint16

	// now is where services listen; the forwarder's thread reads it, and must
	// not wait for who waits for it.
	now atomic.Pointer[listen.Table]

	mu sync.Mutex
	// Those of a container that is on a network; reserved carries places, too.
	published []network.Publish
	reserved  *forward.Reserved

	carried map[place]bool
	refused map[place]bool // warned of
	began   time.Time
	stop    chan struct{}
	done    chan struct{}
	end     sync.Once
}

func (w *wiring) begin() {
	w.carried = map[place]bool{}
	w.began, w.stop, w.done = time.Now(), make(chan struct{}), make(chan struct{})
	go w.follow()
}

// follow sees where services listen, and stands in for them at the addresses
// where they do not.
func (w *wiring) follow() {
	defer close(w.done)
	for {
		wait := later
		w.mu.Lock()
		if time.Since(w.began) < starting {
			wait = soon
		}
		w.mu.Unlock()
		select {
		case <-w.stop:
			return
		case <-time.After(wait):
		}
		w.stand(listen.Look("/proc/self"))
	}
}

// places are all that are declared.
func (w *wiring) places() []place {
	var out []place
	for _, ep := range w.s.Endpoints {
		if !ep.IPv4.IsValid() {
			continue
		}
		add := func(proto string, port uint16) {
			if proto != "tcp" && proto != "udp" || port == 0 || len(out) >= mostCarried {
				return
			}
			p := place{proto: proto, at: netip.AddrPortFrom(ep.IPv4.Addr(), port), real: port}
			if real, ok := w.moved[listen.On(proto, port)]; ok {
				p.real = real
			}
			out = append(out, p)
		}
		for s := range w.moved {
			add(s.Proto, s.Port)
		}
		for _, r := range ep.Exposed {
			for i := range max(r.Count, 1) {
				if _, ok := w.moved[listen.On(r.Proto, r.First+i)]; !ok {
					add(r.Proto, r.First+i)
				}
			}
		}
		for _, p := range w.s.Publish {
			for i := range max(p.Count, 1) {
				add(p.Proto, p.Port+i)
			}
		}
	}
	// What is published where it is: at the addresses of the host, too.
	for _, p := range w.published {
		for i := range max(p.Count, 1) {
			if p.Host != p.Port || w.movedAny(p) {
				continue
			}
			for _, a := range hostAddrs(p.HostIP) {
				out = append(out, place{proto: p.Proto, at: netip.AddrPortFrom(a, p.Host+i), real: p.Port + i})
			}
		}
	}
	return out
}

// stand takes the places that need somebody, and leaves those that do not.
func (w *wiring) stand(here listen.Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Store(&here)
	wanted := map[place]bool{}
	for _, p := range w.places() {
		if wanted[p] {
			continue
		}
		wanted[p] = true
		if w.carried[p] {
			if _, ok := here.Somewhere(listen.On(p.proto, p.real)); !ok {
				// The service is gone, and may come back on all addresses.
				w.leave(p)
			}
			continue
		}
		if w.there(here, p) {
			continue
		}
		if _, ok := here.Somewhere(listen.On(p.proto, p.real)); ok {
			w.take(p)
		}
	}
	for p := range w.carried {
		if !wanted[p] {
			w.leave(p)
		}
	}
}

// hostAddrs are the addresses at which a published port is to be found. Not the
// wildcard, which a service on 127.0.0.1 keeps from others.
func hostAddrs(asked netip.Addr) []netip.Addr {
	if asked.IsValid() && !asked.IsUnspecified() {
		return []netip.Addr{asked}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			out = append(out, p.Addr())
		}
	}
	return out
}

// there tells whether a place is served without us.
func (w *wiring) there(here listen.Table, p place) bool {
	if p.at.Port() != p.real {
		return w.everywhere(p)
	}
	return here.At(listen.On(p.proto, p.real), p.at.Addr())
}

// everywhere tells whether the same port is published at all addresses of the
// host, the container's among them.
func (w *wiring) everywhere(p place) bool {
	return slices.ContainsFunc(w.published, func(pub network.Publish) bool {
		at := p.at.Port()
		return pub.Proto == p.proto && (!pub.HostIP.IsValid() || pub.HostIP == netip.IPv4Unspecified()) &&
			pub.Host == pub.Port && at >= pub.Host && int(at) < int(pub.Host)+int(max(pub.Count, 1))
	})
}

func (w *wiring) take(p place) {
	err := w.reserved.Add(network.Publish{Proto: p.proto, HostIP: p.at.Addr(), Host: p.at.Port(), Port: p.real, Count: 1})
	if err == nil {
		w.carried[p] = true
		delete(w.refused, p)
		return
	}
	if w.refused[p] || w.s.Warn == nil {
		return
	}
	w.refused[p] = true
	if errors.Is(err, unix.EADDRINUSE) {
		err = errors.New("another program listens on that port of all addresses")
	}
	w.s.Warn(fmt.Sprintf("port %d/%s of container %s is not found at %s: %v", p.real, p.proto, w.s.Container, p.at, err))
}

// barred says which declared ports can never be carried, because they are root's: tried
// before the start, as later nobody may be there to be told.
func (w *wiring) barred() (not []network.Cannot) {
	for _, p := range w.places() {
		if p.at.Port() >= 1024 || w.refused[p] {
			continue
		}
		_, r, err := forward.Reserve([]network.Publish{{Proto: p.proto, HostIP: p.at.Addr(), Host: p.at.Port(), Port: p.real, Count: 1}})
		if err == nil {
			r.Close()
		}
		if !errors.Is(err, unix.EACCES) {
			continue
		}
		w.refused[p] = true
		not = append(not, network.Cannot{
			What: fmt.Sprintf("port %d/%s", p.at.Port(), p.proto),
			Why:  fmt.Sprintf("others do not find it at %s, because it is root's (net.ipv4.ip_unprivileged_port_start): declare a port from 1024 on", p.at),
		})
	}
	return not
}

func (w *wiring) leave(p place) {
	w.reserved.Drop(p.proto, p.at)
	delete(w.carried, p)
}

// to finds a service for the forwarder.
func (w *wiring) to(proto string, port uint16) (netip.AddrPort, bool) {
	if real, ok := w.moved[listen.On(proto, port)]; ok {
		port = real
	}
	if here := w.now.Load(); here != nil {
		if at, ok := here.Somewhere(listen.On(proto, port)); ok {
			return at, true
		}
	}
	// Not seen yet; whoever is there answers.
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), true
}

// Attach is not called.
func (w *wiring) Attach(int) error { return nil }

// Inside is nothing.
func (w *wiring) Inside() (*isolate.Net, error) { return nil, nil }

// Opened has nothing to take.
func (w *wiring) Opened(files map[string]*os.File) error {
	for _, f := range files {
		f.Close()
	}
	return nil
}

// Ports are the published ports.
func (w *wiring) Ports() []network.Publish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.published
}

// Connect adds an address.
func (w *wiring) Connect(_ context.Context, ep *network.Endpoint, _ network.Doer) error {
	if err := w.d.connectable(ep); err != nil {
		return err
	}
	for _, not := range asked(ep) {
		if w.s.Warn != nil {
			w.s.Warn(not.String())
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s.Endpoints = append(w.s.Endpoints, ep)
	if w.reserved == nil {
		// Who listens by now may be the container itself.
		if err := w.publish(listen.Table{}); err != nil {
			w.forget(ep)
			return err
		}
	}
	w.began = time.Now()
	return nil
}

func (w *wiring) forget(ep *network.Endpoint) {
	w.s.Endpoints = slices.DeleteFunc(w.s.Endpoints, func(e *network.Endpoint) bool { return e.NetworkID == ep.NetworkID })
}

// Disconnect takes one away.
func (w *wiring) Disconnect(_ context.Context, ep *network.Endpoint, _ network.Doer) error {
	w.mu.Lock()
	w.forget(ep)
	if len(w.s.Endpoints) == 0 {
		w.unpublish()
	}
	w.mu.Unlock()
	w.stand(listen.Look("/proc/self"))
	return nil
}

// Close ends all.
func (w *wiring) Close() error {
	w.end.Do(func() { close(w.stop) })
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unpublish()
	return nil
}
