package netstack

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// pingFor is how long a container's ping is known after its last packet.
const pingFor = 30 * time.Second

// pinger passes ICMP echoes on by sockets of the host: ones for echoes alone,
// which the kernel gives to the groups in net.ipv4.ping_group_range, or raw
// ones. Without a right to either, pings stay without an answer.
type pinger struct {
	g   *gateway
	mu  sync.Mutex
	all map[echo]*icmp.PacketConn
}

// echo names one ping: whom, and by which ID.
type echo struct {
	to netip.Addr
	id uint16
}

func newPinger(g *gateway) *pinger { return &pinger{g: g, all: map[echo]*icmp.PacketConn{}} }

// take takes echo requests for others than the gateway, which answers itself.
func (p *pinger) take(f frame) bool {
	b := f.l3()
	var to netip.Addr
	var msg []byte
	switch {
	case f.kind() == typeIPv4:
		ip := header.IPv4(b)
		if !ip.IsValid(len(b)) || ip.TransportProtocol() != header.ICMPv4ProtocolNumber || ip.More() || ip.FragmentOffset() > 0 {
			return false
		}
		to, msg = addr(ip.DestinationAddress()), ip.Payload()
		if len(msg) < 8 || header.ICMPv4Type(msg[0]) != header.ICMPv4Echo {
			return false
		}
	default:
		ip := header.IPv6(b)
		if !ip.IsValid(len(b)) || ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
			return false
		}
		to, msg = addr(ip.DestinationAddress()), ip.Payload()
		if len(msg) < 8 || header.ICMPv6Type(msg[0]) != header.ICMPv6EchoRequest {
			return false
		}
	}
	if ep := p.g.p.ep; to == ep.Gateway4 || to == ep.Gateway6 {
		return false
	}
	if to, ok := p.g.target(to); ok {
		p.send(echo{to, binary.BigEndian.Uint16(msg[4:])}, msg)
	}
	return true
}

func (p *pinger) send(e echo, msg []byte) {
	p.mu.Lock()
	c := p.all[e]
	if c == nil && len(p.all) < mostPings && p.g.ctx.Err() == nil {
		if c = listenEcho(e.to.Is6()); c != nil {
			p.all[e] = c
			go p.hear(e, c)
		}
	}
	p.mu.Unlock()
	if c == nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(pingFor))
	var to net.Addr = &net.UDPAddr{IP: e.to.AsSlice()}
	if strings.HasPrefix(c.LocalAddr().Network(), "ip") {
		to = &net.IPAddr{IP: e.to.AsSlice()}
	}
	kind, proto := icmp.Type(ipv4.ICMPTypeEcho), 1
	if e.to.Is6() {
		kind, proto = ipv6.ICMPTypeEchoRequest, 58
	}
	if m, err := icmp.ParseMessage(proto, msg); err == nil {
		m.Type = kind
		if out, err := m.Marshal(nil); err == nil {
			c.WriteTo(out, to)
		}
	}
}

func listenEcho(v6 bool) *icmp.PacketConn {
	ways := []string{"udp4", "ip4:icmp"}
	at := "0.0.0.0"
	if v6 {
		ways, at = []string{"udp6", "ip6:ipv6-icmp"}, "::"
	}
	for _, way := range ways {
		if c, err := icmp.ListenPacket(way, at); err == nil {
			return c
		}
	}
	return nil
}

// hear passes answers on, under the ID that the container gave.
func (p *pinger) hear(e echo, c *icmp.PacketConn) {
	stop := make(chan struct{})
	go func() {
		select {
		case <-p.g.ctx.Done():
			c.Close()
		case <-stop:
		}
	}()
	defer func() {
		close(stop)
		p.mu.Lock()
		delete(p.all, e)
		p.mu.Unlock()
		c.Close()
	}()
	raw := strings.HasPrefix(c.LocalAddr().Network(), "ip")
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		reply := byte(header.ICMPv4EchoReply)
		if e.to.Is6() {
			reply = byte(header.ICMPv6EchoReply)
		}
		if n < 8 || buf[0] != reply || sender(from) != e.to || raw && binary.BigEndian.Uint16(buf[4:]) != e.id {
			continue
		}
		p.answer(e, append([]byte(nil), buf[:n]...))
	}
}

func (p *pinger) answer(e echo, msg []byte) {
	binary.BigEndian.PutUint16(msg[4:], e.id)
	ep := p.g.p.ep
	if e.to.Is6() {
		if len(msg) < p.g.p.mtu {
			p.g.p.give(packet6(macOf(ep), gatewayMAC, e.to, ep.IPv6.Addr(), uint8(header.ICMPv6ProtocolNumber), 64, msg))
		}
		return
	}
	if len(msg) < 1<<16-header.IPv4MinimumSize {
		p.g.p.give(packet4(macOf(ep), gatewayMAC, e.to, ep.IPv4.Addr(), msg))
	}
}

func sender(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.UDPAddr:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	got, _ := netip.AddrFromSlice(ip)
	return got.Unmap()
}

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
