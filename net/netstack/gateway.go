package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"coracle/net/forward"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	nic = 1
	// Bounds of what a container can make us hold at once: TCP connections that
	// are being made, UDP clients, pings.
	mostDialed, mostUDP, mostPings = 512, 2048, 128
	// dialFor is how long a connection of a container may take to be made.
	dialFor = 30 * time.Second
	// udpFor is how long a UDP client is known after its last packet, and dnsFor
	// where it asked a name server, which answers at once or not at all.
	udpFor, dnsFor = 90 * time.Second, 15 * time.Second
)

// gateway is an endpoint's way out: a TCP/IP stack of our own that ends each
// connection of the container, and goes on with it by a plain socket of the
// host.
type gateway struct {
	p      *port
	stack  *stack.Stack
	link   *link
	ctx    context.Context
	stop   context.CancelFunc
	udp    atomic.Int32
	pinger *pinger
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func addr(a tcpip.Address) netip.Addr {
	out, _ := netip.AddrFromSlice(a.AsSlice())
	return out
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: address(a.Addr().Unmap()), Port: a.Port()}
}

func protocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Unmap().Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func newGateway(p *port) (*gateway, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	g := &gateway{p: p, stack: s, link: &link{p: p, mtu: uint32(p.mtu)}}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.pinger = newPinger(g)
	if err := g.configure(); err != nil {
		g.close()
		return nil, err
	}
	s.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(s, 0, mostDialed, g.dialed).HandlePacket)
	s.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(s, g.sent).HandlePacket)
	return g, nil
}

// configure makes the interface answer for every address there is.
func (g *gateway) configure() error {
	s, ep := g.stack, g.p.ep
	if err := s.CreateNICWithOptions(nic, g.link, stack.NICOptions{Name: "gateway"}); err != nil {
		return fmt.Errorf("make the gateway's interface: %s", err)
	}
	s.SetPromiscuousMode(nic, true)
	s.SetSpoofing(nic, true)
	var routes []tcpip.Route
	for _, f := range [...]struct {
		gw    netip.Addr
		own   netip.Prefix
		proto tcpip.NetworkProtocolNumber
		all   tcpip.Subnet
	}{{ep.Gateway4, ep.IPv4, ipv4.ProtocolNumber, header.IPv4EmptySubnet}, {ep.Gateway6, ep.IPv6, ipv6.ProtocolNumber, header.IPv6EmptySubnet}} {
		if !f.gw.IsValid() || !f.own.IsValid() {
			continue
		}
		at := tcpip.ProtocolAddress{Protocol: f.proto, AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(f.gw), PrefixLen: f.own.Bits()}}
		if err := s.AddProtocolAddress(nic, at, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("add address %s to the gateway: %s", f.gw, err)
		}
		m := macOf(ep)
		s.AddStaticNeighbor(nic, f.proto, address(f.own.Addr()), tcpip.LinkAddress(m[:]))
		routes = append(routes, tcpip.Route{Destination: f.all, NIC: nic})
	}
	s.SetRouteTable(routes)
	sack := tcpip.TCPSACKEnabled(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &rcv)
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 8 << 20}
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &snd)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate)
	return nil
}

func (g *gateway) close() {
	g.stop()
	g.stack.RemoveNIC(nic)
	g.stack.Close()
}

// input takes a frame for the gateway.
func (g *gateway) input(f frame) {
	if f.kind() == typeIPv4 || f.kind() == typeIPv6 {
		if g.pinger.take(f) {
			return
		}
		g.link.deliver(f)
	}
}

// target is where a container's packets for a go, as the host's sockets see it;
// false: nowhere. The gateway's address is the host's own, and never that of the
// loopback interface: what listens there alone is not for containers.
func (g *gateway) target(a netip.Addr) (netip.Addr, bool) {
	a = a.Unmap()
	ep := g.p.ep
	switch {
	case a == ep.Gateway4, a == ep.Gateway6:
		return g.p.self(a.Is6())
	case a.IsLoopback(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast() && a.Is6(),
		ep.IPv4.IsValid() && ep.IPv4.Contains(a), ep.IPv6.IsValid() && ep.IPv6.Contains(a):
		return a, false
	}
	return a, g.p.refuse == nil || !g.p.refuse(a)
}

// hostAddr is an address by which others reach the host.
func hostAddr(v6 bool) (netip.Addr, bool) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if got := p.Addr().Unmap(); got.Is6() == v6 && !got.IsLoopback() && !got.IsLinkLocalUnicast() {
			return got, true
		}
	}
	return netip.Addr{}, false
}

// dialed is called for each TCP connection that the container begins.
func (g *gateway) dialed(r *tcp.ForwarderRequest) {
	to, ok := g.target(addr(r.ID().LocalAddress))
	if !ok {
		r.Complete(true)
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, dialFor)
	host, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(to, r.ID().LocalPort).String())
	cancel()
	if err != nil {
		r.Complete(true)
		return
	}
	forward.Near(host)
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		r.Complete(true)
		host.Close()
		return
	}
	r.Complete(false)
	ep.SocketOptions().SetKeepAlive(true)
	forward.Join(g.ctx, host, gonet.NewTCPConn(&wq, ep))
}

// sent is called for the first datagram of each UDP client in the container; it
// must not block.
func (g *gateway) sent(r *udp.ForwarderRequest) bool {
	to, ok := g.target(addr(r.ID().LocalAddress))
	if !ok {
		return false // the stack answers that nobody is there
	}
	if g.udp.Add(1) > mostUDP {
		g.udp.Add(-1)
		return true
	}
	host, err := net.Dial("udp", netip.AddrPortFrom(to, r.ID().LocalPort).String())
	if err != nil {
		g.udp.Add(-1)
		return false
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	if terr != nil {
		g.udp.Add(-1)
		host.Close()
		return true
	}
	age := udpFor
	if r.ID().LocalPort == 53 {
		age = dnsFor
	}
	go func() {
		defer g.udp.Add(-1)
		datagrams(g.ctx, host, gonet.NewUDPConn(&wq, ep), age)
	}()
	return true
}

// datagrams copies datagrams both ways until none came for as long as age.
func datagrams(ctx context.Context, a, b net.Conn, age time.Duration) {
	both := func() { a.Close(); b.Close() }
	defer context.AfterFunc(ctx, both)()
	idle := time.AfterFunc(age, both)
	defer idle.Stop()
	copyAll := func(dst, src net.Conn) {
		buf := make([]byte, 1<<16)
		for {
			n, err := src.Read(buf)
			if err != nil {
				if isRefused(err) {
					continue // nobody listened there when we sent
				}
				return
			}
			idle.Reset(age)
			dst.Write(buf[:n])
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		copyAll(a, b)
		both()
	}()
	copyAll(b, a)
	both()
	<-done
}

// Dial reaches the container from outside. It sees the client's own address,
// unless that is one that it would not answer to by the gateway.
func (g *gateway) dial(ctx context.Context, network string, from, to netip.AddrPort) (net.Conn, error) {
	local := g.source(from, to)
	for {
		var c net.Conn
		var err error
		switch {
		case network == "udp":
			l, r := full(local), full(to)
			c, err = asConn(gonet.DialUDP(g.stack, &l, &r, protocol(to.Addr())))
		default:
			c, err = asConn(gonet.DialTCPWithBind(ctx, g.stack, full(local), full(to), protocol(to.Addr())))
		}
		gw := netip.AddrPortFrom(g.own(to.Addr()), 0)
		if err == nil || local == gw || ctx.Err() != nil || !isTaken(err) {
			return c, err
		}
		local = gw
	}
}

// asConn keeps a nil pointer from becoming an interface that is not nil.
func asConn[T interface {
	comparable
	net.Conn
}](c T, err error) (net.Conn, error) {
	var none T
	if err != nil || c == none {
		return nil, err
	}
	return c, nil
}

// own is the gateway's address of the family of a.
func (g *gateway) own(a netip.Addr) netip.Addr {
	if a.Unmap().Is4() {
		return g.p.ep.Gateway4
	}
	return g.p.ep.Gateway6
}

func (g *gateway) source(from, to netip.AddrPort) netip.AddrPort {
	a := from.Addr().Unmap()
	ep := g.p.ep
	if !a.IsValid() || a.Is4() != to.Addr().Unmap().Is4() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() ||
		ep.IPv4.IsValid() && ep.IPv4.Contains(a) || ep.IPv6.IsValid() && ep.IPv6.Contains(a) {
		return netip.AddrPortFrom(g.own(to.Addr()), 0)
	}
	return netip.AddrPortFrom(a, from.Port())
}

// isTaken tells that the stack has a connection of that name already, or does
// not take the address.
func isTaken(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "bind" || strings.Contains(err.Error(), (&tcpip.ErrPortInUse{}).String())
}
