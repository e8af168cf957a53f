package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"coracle/backends/isolate"
	"coracle/internal/sys"
	"coracle/net/nat"
	"coracle/net/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wiring is one container on its bridges.
type wiring struct {
	d *Driver
	s *network.Sandbox

	mu      sync.Mutex
	h       *netlink.Handle
	pid     int
	inner   *os.File             // the container's network namespace; nil where it has no name
	bridges map[string]int       // index of the bridge, by network
	outs    map[string]io.Closer // ways out that we carry, by endpoint
	ports   ports
	watch   *nat.Watcher
	where   atomic.Pointer[netip.Addr] // where published ports lead
}

var _ network.Wiring = (*wiring)(nil)

// Open raises the networks and takes the ports.
func (d *Driver) Open(_ context.Context, s *network.Sandbox) (_ network.Wiring, not []network.Cannot, err error) {
	w := &wiring{d: d, s: s, bridges: map[string]int{}, outs: map[string]io.Closer{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, nil, fmt.Errorf("netlink: %w", err)
	}
	for _, ep := range s.Endpoints {
		n := s.Network(ep)
		if w.bridges[n.ID], err = d.raise(w.h, n); err != nil {
			return nil, nil, err
		}
		not = append(not, d.lacks(n)...)
	}
	if len(s.Publish) > 0 && !network.Inward(s.Endpoints).IsValid() {
		not = append(not, network.Cannot{What: "--publish", Why: "no network of the container leads out"})
	}
	if err := w.publish(); err != nil {
		return nil, nil, err
	}
	if d.opt.Firewall != nil {
		w.watch = nat.Watch(w.marks, w.assert)
	}
	return w, not, nil
}

// lacks says what goes without a packet filter.
func (d *Driver) lacks(n *network.Network) []network.Cannot {
	if d.opt.Firewall != nil || n.Internal {
		return nil
	}
	if d.opt.Out != nil {
		if !option(n, optMasq, true) {
			return []network.Cannot{{What: "--opt " + optMasq + "=false", Why: "without a packet filter the way out is by sockets of the host"}}
		}
		return nil
	}
	return []network.Cannot{{What: "network " + n.Name, Why: "this kernel has no packet filter for us: no way out of the network"}}
}

// Attach makes the pairs.
func (w *wiring) Attach(pid int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid = pid
	w.inner, _ = os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	for _, ep := range w.s.Endpoints {
		if err := w.plug(ep); err != nil {
			return err
		}
	}
	return nil
}

func (w *wiring) plug(ep *network.Endpoint) error {
	n := w.s.Network(ep)
	err := pair(w.h, n, ep, w.pid, w.bridges[n.ID])
	if errors.Is(err, unix.EEXIST) {
		// Of a run whose monitor was killed just now: its namespace is still
		// being taken down.
		if err = down(w.h, ep.Outer); err == nil {
			err = pair(w.h, n, ep, w.pid, w.bridges[n.ID])
		}
	}
	if err != nil {
		return err
	}
	if err := hold(w.h, n, ep, w.d.opt.Firewall == nil); err != nil && !errors.Is(err, errNoFilter) {
		w.s.Warn("hold the container to its own addresses: " + err.Error())
	}
	link, err := w.h.LinkByName(ep.Outer)
	if err != nil {
		return err
	}
	if !option(n, optICC, true) {
		w.h.LinkSetIsolated(link, true)
	}
	if len(w.s.Publish) > 0 {
		// Where br_netfilter is loaded, as Docker does, a packet to a port that
		// the container itself has published is turned back at its own port of
		// the bridge.
		w.h.LinkSetHairpin(link, true)
	}
	return w.wayOut(n, ep, link)
}

// Inside says how the inner ends are configured.
func (w *wiring) Inside() (*isolate.Net, error) {
	out := &isolate.Net{}
	for _, ep := range w.s.Endpoints {
		out.Links = append(out.Links, w.link(ep))
		out.Sysctls = append(out.Sysctls, ep.Sysctls()...)
	}
	w.routes(out)
	return out, nil
}

func (w *wiring) link(ep *network.Endpoint) isolate.NetLink {
	l := isolate.NetLink{Name: ep.Inner, MAC: ep.MAC.String(), MTU: mtu(w.s.Network(ep))}
	if ep.IPv4.IsValid() {
		l.Addrs = append(l.Addrs, ep.IPv4.String())
	}
	if ep.IPv6.IsValid() {
		l.Addrs = append(l.Addrs, ep.IPv6.String())
	}
	for _, a := range ep.LinkLocal {
		bits := "/16"
		if a.Is6() {
			bits = "/64"
		}
		l.Addrs = append(l.Addrs, a.String()+bits)
	}
	return l
}

// routes are the default routes.
func (w *wiring) routes(out *isolate.Net) {
	if ep := network.Way(w.s.Endpoints, false); ep != nil {
		out.Routes = append(out.Routes, isolate.NetRoute{Dst: "0.0.0.0/0", Gateway: ep.Gateway4.String(), Link: ep.Inner})
	}
	if ep := network.Way(w.s.Endpoints, true); ep != nil {
		out.Routes = append(out.Routes, isolate.NetRoute{Dst: "::/0", Gateway: ep.Gateway6.String(), Link: ep.Inner})
	}
}

// Opened has nothing to take: no descriptors were asked for.
func (w *wiring) Opened(files map[string]*os.File) error {
	for _, f := range files {
		f.Close()
	}
	return nil
}

// Connect adds an endpoint to the running container.
func (w *wiring) Connect(ctx context.Context, ep *network.Endpoint, do network.Doer) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.s.Network(ep)
	if w.bridges[n.ID], err = w.d.raise(w.h, n); err != nil {
		return err
	}
	if err := w.plug(ep); err != nil {
		return err
	}
	w.s.Endpoints = append(w.s.Endpoints, ep)
	what := &isolate.Net{Links: []isolate.NetLink{w.link(ep)}, Sysctls: ep.Sysctls(), NoRoutes: []string{"4", "6"}}
	w.routes(what)
	if _, err = do(ctx, what); err == nil {
		err = w.publish()
	}
	if err != nil {
		w.unplug(ctx, ep, do)
	}
	return err
}

// Disconnect takes an endpoint away.
func (w *wiring) Disconnect(ctx context.Context, ep *network.Endpoint, do network.Doer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unplug(ctx, ep, do)
}

// unplug undoes what plug did, and what followed from it.
func (w *wiring) unplug(ctx context.Context, ep *network.Endpoint, do network.Doer) error {
	w.s.Endpoints = slices.DeleteFunc(w.s.Endpoints, func(e *network.Endpoint) bool { return e.ID == ep.ID })
	w.noWayOut(ep)
	err := down(w.h, ep.Outer)
	what := &isolate.Net{NoRoutes: []string{"4", "6"}}
	w.routes(what)
	_, e := do(ctx, what)
	return errors.Join(err, e, w.publish())
}

// marks are what the rules of the container's networks have in them.
func (w *wiring) marks() (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ep := range w.s.Endpoints {
		names = append(names, w.s.Network(ep).Interface)
	}
	return names
}

// assert puts everything there again that a reload of the host's packet filter
// has flushed.
func (w *wiring) assert() {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.d.opt.Firewall
	for _, ep := range w.s.Endpoints {
		n := w.s.Network(ep)
		if err := w.d.allow(n); err != nil {
			w.s.Warn("put the rules of network " + n.Name + " there again: " + err.Error())
		}
	}
	if len(w.ports.taken) == 0 {
		return
	}
	published := w.ports.container(w.s.Endpoints)
	if f.HasContainer(published) {
		return
	}
	if err := f.PutContainer(published); err != nil {
		w.s.Warn("put the rules of published ports there again: " + err.Error())
	}
}

// Close takes away all that is the container's. Its interfaces go with its
// namespace, for which the kernel needs a while; until then they are shut, so
// that what is left there answers nobody who asks for an address of the next
// container's. Taking them down here would have each end of a container wait for
// that: 15 to 30 ms.
func (w *wiring) Close() error {
	w.watch.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.h != nil {
		for _, ep := range w.s.Endpoints {
			w.noWayOut(ep)
			shut(w.h, ep.Outer)
		}
		w.h.Close()
		w.h = nil
	}
	if w.inner != nil {
		forgetOrphans(w.inner)
		w.inner.Close()
		w.inner = nil
	}
	return w.unpublish()
}

// forgetOrphans has the kernel give up the connections that the container's programs
// left: what they have to send passes nowhere any more. Where the other side went
// first each would be tried for 100 s, and keep the namespace, with the interfaces, for
// as long. From Linux 4.6 on the number of tries is the namespace's own, and before it
// the host's (net/ipv4/tcp_timer.c).
func forgetOrphans(ns *os.File) {
	if v := sys.KernelVersion(); v[0] < 4 || v[0] == 4 && v[1] < 6 {
		return
	}
	sys.InNetwork(ns, func() { os.WriteFile("/proc/sys/net/ipv4/tcp_orphan_retries", []byte("1"), 0) })
}
