// Package netstack wires containers without any right on the host: a TAP in the
// container's own network namespace, and a TCP/IP stack (gVisor's) in the
// monitor. There is no bridge and no process beside the monitors.
//
// What a container sends to others of its network goes as it is, frame by frame,
// over a datagram socket in the network's directory to the other monitor. What it
// sends to the gateway ends in the stack, and goes on by plain sockets of the
// host: TCP, UDP and ICMP echo. Published ports come the other way; the container
// sees the client's address. ARP and neighbor discovery are answered from what is
// on disk, and a frame under another's address goes nowhere.
//
// Not where a bridge can be had: each byte is copied by the monitor.
package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"coracle/backends/isolate"
	"coracle/backends/isolate/inside"
	"coracle/net/forward"
	"coracle/net/network"
)

const (
	optMTU = "com.docker.network.driver.mtu"
	optICC = "com.docker.network.bridge.enable_icc"
	// bigMTU is the default: nothing of it ever meets a wire, and few large
	// packets are cheaper than many small ones.
	bigMTU = 65520
)

// Options are what the driver needs.
type Options struct {
	Run string // the run directory; see network.Dir
	// Pairs does without TAPs, as where there are none (isolate.NetTap).
	Pairs bool
}

// Driver is the rung netstack.
type Driver struct {
	opt Options
	// self is the host, as containers reach it by the gateway's address.
	self func(v6 bool) (netip.Addr, bool)
}

var _ network.Driver = (*Driver)(nil)

// New makes the driver.
func New(opt Options) *Driver { return &Driver{opt, hostAddr} }

// Name is the rung's.
func (d *Driver) Name() string { return "netstack" }

// Kind is the same.
func (d *Driver) Kind() string { return "netstack" }

// Namespace is true.
func (d *Driver) Namespace() bool { return true }

// Check reads the options of a network.
func (d *Driver) Check(n *network.Network) ([]network.Cannot, error) {
	var not []network.Cannot
	for name, value := range n.Options {
		switch name {
		case optMTU:
			if m, err := strconv.Atoi(value); err != nil || m < 68 || m > 65535 {
				return nil, fmt.Errorf("invalid MTU %q", value)
			}
		case optICC:
			if _, err := strconv.ParseBool(value); err != nil {
				return nil, fmt.Errorf("invalid value for option %s: %q", name, value)
			}
		case "com.docker.network.bridge.name", "com.docker.network.bridge.default_bridge", "com.docker.network.bridge.enable_ip_masquerade",
			"com.docker.network.container_iface_prefix", "com.docker.network.bridge.host_binding_ipv4":
		default:
			not = append(not, network.Cannot{What: "--opt " + name, Why: "the wiring netstack does not know it"})
		}
	}
	return not, nil
}

// Open takes the published ports.
func (d *Driver) Open(_ context.Context, s *network.Sandbox) (network.Wiring, []network.Cannot, error) {
	w := &wiring{d: d, s: s, ports: map[string]*port{}}
	if err := w.aim(); err != nil {
		return nil, nil, err
	}
	if len(s.Publish) > 0 && w.reserved == nil {
		return w, []network.Cannot{{What: "-p", Why: "no network of the container leads out, so nothing leads in"}}, nil
	}
	return w, nil, nil
}

// Sweep removes the sockets of a monitor that was killed.
func (d *Driver) Sweep(_ context.Context, s *network.Sandbox) error {
	var err error
	for _, ep := range s.Endpoints {
		e := os.Remove(filepath.Join(network.Dir(d.opt.Run, ep.NetworkID), socketName(macOf(ep))))
		if e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Remove has nothing to do: the host has nothing of a network.
func (d *Driver) Remove(context.Context, *network.Network) error { return nil }

// wiring is one sandbox.
type wiring struct {
	d *Driver
	s *network.Sandbox

	// target is where published ports lead; asked by the forwarder, which does
	// not wait.
	target atomic.Pointer[netip.Addr]

	mu    sync.Mutex
	ports map[string]*port // by network ID
	// Taken while a network of the container leads out.
	published []network.Publish
	reserved  *forward.Reserved
}

func (w *wiring) way(v6 bool) *network.Endpoint { return network.Way(w.s.Endpoints, v6) }

// Attach makes the TAPs from here where that can be done: the container's
// control group may keep it from /dev/net/tun, as Docker's list of devices does.
// Without root, and before setns(2), the second stage does it.
func (w *wiring) Attach(pid int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := new(isolate.Net)
	for _, ep := range w.s.Endpoints {
		what.Taps = append(what.Taps, w.tap(ep))
	}
	files, err := inside.In(pid, what)
	if err != nil || len(w.s.Endpoints) == 0 {
		return nil
	}
	return w.begin(files)
}

func (w *wiring) tap(ep *network.Endpoint) isolate.NetTap {
	return isolate.NetTap{Name: ep.Inner, VNetHdr: true, Pair: w.d.opt.Pairs}
}

// Ports are the published ports.
func (w *wiring) Ports() []network.Publish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.published
}

// Inside asks for a TAP for each endpoint, and the routes out.
func (w *wiring) Inside() (*isolate.Net, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := &isolate.Net{Routes: w.routes(), Sysctls: unpaced()}
	for _, ep := range w.s.Endpoints {
		w.add(what, ep)
	}
	return what, nil
}

// unpaced has the container's kernel not pace what it sends, which goes as far as this
// process: with the host's BBR half as much arrives. How to go on from here is up to
// the host's sockets. Before Linux 4.15 the setting is not one of a network namespace,
// and before 3.5 the host's would change: a file of 4.18 tells (ip-sysctl).
func unpaced() []isolate.NetSysctl {
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_comp_sack_delay_ns"); err != nil {
		return nil
	}
	return []isolate.NetSysctl{{Path: "ipv4/tcp_congestion_control", Value: "reno", Try: true}}
}

func (w *wiring) add(what *isolate.Net, ep *network.Endpoint) {
	if w.ports[ep.NetworkID] == nil {
		what.Taps = append(what.Taps, w.tap(ep))
	}
	l := isolate.NetLink{Name: ep.Inner, MAC: ep.MAC.String(), MTU: w.mtu(ep)}
	for _, p := range [...]netip.Prefix{ep.IPv4, ep.IPv6} {
		if p.IsValid() {
			l.Addrs = append(l.Addrs, p.String())
		}
	}
	for _, a := range ep.LinkLocal {
		bits := 16
		if a.Is6() {
			bits = 64
		}
		l.Addrs = append(l.Addrs, netip.PrefixFrom(a, bits).String())
	}
	what.Links = append(what.Links, l)
	if !w.s.UserNS { // whose /proc/sys is not writable by then
		what.Sysctls = append(what.Sysctls, ep.Sysctls()...)
	}
}

func (w *wiring) routes() []isolate.NetRoute {
	var out []isolate.NetRoute
	if ep := w.way(false); ep != nil {
		out = append(out, isolate.NetRoute{Dst: "0.0.0.0/0", Gateway: ep.Gateway4.String(), Link: ep.Inner})
	}
	if ep := w.way(true); ep != nil {
		out = append(out, isolate.NetRoute{Dst: "::/0", Gateway: ep.Gateway6.String(), Link: ep.Inner})
	}
	return out
}

func (w *wiring) mtu(ep *network.Endpoint) int {
	if n := w.s.Network(ep); n != nil {
		if m, err := strconv.Atoi(n.Options[optMTU]); err == nil && m > 0 {
			return m
		}
	}
	return bigMTU
}

func (w *wiring) icc(ep *network.Endpoint) bool {
	if n := w.s.Network(ep); n != nil {
		if b, err := strconv.ParseBool(n.Options[optICC]); err == nil {
			return b
		}
	}
	return true
}

// Opened takes the TAPs and begins to carry.
func (w *wiring) Opened(files map[string]*os.File) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begin(files)
}

func (w *wiring) begin(files map[string]*os.File) error {
	busy()
	for _, ep := range w.s.Endpoints {
		if w.ports[ep.NetworkID] != nil {
			continue
		}
		if err := w.start(ep, files["tap:"+ep.Inner]); err != nil {
			return err
		}
	}
	return w.serve()
}

func (w *wiring) serve() error {
	if w.reserved == nil {
		return nil
	}
	return w.reserved.Serve(forward.Way{To: w.to, Dial: w.dial, Warn: w.s.Warn})
}

func (w *wiring) start(ep *network.Endpoint, tap *os.File) error {
	if tap == nil {
		return fmt.Errorf("network %s: no TAP was made", ep.NetworkName)
	}
	p, err := open(w, ep, tap)
	if err != nil {
		return err
	}
	w.ports[ep.NetworkID] = p
	return nil
}

// aim says where published ports lead: to the endpoint with the way out. They are
// taken when there is one, and given back when there is none any more.
func (w *wiring) aim() (err error) {
	a := network.Inward(w.s.Endpoints)
	w.target.Store(&a)
	if !a.IsValid() {
		w.unpublish()
		return nil
	}
	if w.reserved == nil && len(w.s.Publish) > 0 {
		w.published, w.reserved, err = forward.Reserve(w.s.Publish)
	}
	return err
}

func (w *wiring) unpublish() {
	if w.reserved != nil {
		w.reserved.Close()
	}
	w.published, w.reserved = nil, nil
}

func (w *wiring) to(_ string, inner uint16) (netip.AddrPort, bool) {
	a := *w.target.Load()
	return netip.AddrPortFrom(a, inner), a.IsValid()
}

func (w *wiring) dial(ctx context.Context, proto string, from, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	var g *gateway
	for _, p := range w.ports {
		if owns(p.ep, to.Addr()) {
			g = p.gateway()
		}
	}
	w.mu.Unlock()
	if g == nil {
		return nil, fmt.Errorf("no way to %s", to)
	}
	return g.dial(ctx, proto, from, to)
}

// Connect adds an endpoint to a container that runs.
func (w *wiring) Connect(ctx context.Context, ep *network.Endpoint, do network.Doer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s.Endpoints = append(slices.Clone(w.s.Endpoints), ep)
	what := &isolate.Net{NoRoutes: []string{"4", "6"}, Routes: w.routes()}
	w.add(what, ep)
	files, err := do(ctx, what)
	if err == nil {
		err = w.start(ep, files["tap:"+ep.Inner])
	}
	if err == nil {
		err = w.aim()
	}
	if err == nil {
		err = w.serve()
	}
	if err != nil {
		w.remove(ctx, ep, do)
	}
	return err
}

// Disconnect takes one away.
func (w *wiring) Disconnect(ctx context.Context, ep *network.Endpoint, do network.Doer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.remove(ctx, ep, do)
}

func (w *wiring) remove(ctx context.Context, ep *network.Endpoint, do network.Doer) error {
	var rest []*network.Endpoint
	for _, e := range w.s.Endpoints {
		if e.NetworkID != ep.NetworkID {
			rest = append(rest, e)
		}
	}
	w.s.Endpoints = rest
	aimed := w.aim()
	if p := w.ports[ep.NetworkID]; p != nil {
		delete(w.ports, ep.NetworkID)
		p.close()
	}
	_, err := do(ctx, &isolate.Net{Gone: []string{ep.Inner}, NoRoutes: []string{"4", "6"}, Routes: w.routes()})
	return errors.Join(aimed, err)
}

// Close ends all.
func (w *wiring) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unpublish()
	for id, p := range w.ports {
		p.close()
		delete(w.ports, id)
	}
	return nil
}
