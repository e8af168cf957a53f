package applet

import (
	"net"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

type pinger struct {
	*call
	conn *icmp.PacketConn
	dst  net.Addr
	v6   bool
	id   int
	size int
}

func ping(c *call) int {
	o := c.opts("c:W:w:i:s:q46n", "count=c", "interval=i", "deadline=w", "timeout=W")
	c.want(1, 1)
	count := int(c.number(o.str('c', "0")))
	patience := c.duration(o.str('W', "10"))
	every := c.duration(o.str('i', "1"))
	network := "ip"
	if o.has('4') {
		network = "ip4"
	} else if o.has('6') {
		network = "ip6"
	}
	ips, err := resolver("").LookupIP(c.ctx, network, c.args[0])
	if err != nil {
		c.die("%s", netReason(err))
	}
	p := &pinger{call: c, v6: ips[0].To4() == nil, id: os.Getpid() & 0xffff, size: int(c.number(o.str('s', "56")))}
	p.open(ips[0])
	defer p.conn.Close()
	c.printf("PING %s (%s): %d data bytes\n", c.args[0], ips[0], p.size)
	var end time.Time
	if s, ok := o.last('w'); ok {
		end = time.Now().Add(c.duration(s))
	}
	sent, got := 0, 0
	for seq := 0; (count == 0 || seq < count) && !c.gone() && (end.IsZero() || time.Now().Before(end)); seq++ {
		if seq > 0 {
			select {
			case <-time.After(every):
			case <-c.ctx.Done():
			}
		}
		sent++
		took, from, err := p.once(seq, patience)
		if err == nil {
			got++
			if !o.has('q') {
				c.printf("%d bytes from %s: seq=%d time=%.3f ms\n", p.size+8, from, seq, float64(took.Nanoseconds())/1e6)
			}
		} else if !os.IsTimeout(err) {
			c.warn("%s", netReason(err))
		}
		c.out.Flush()
	}
	c.printf("\n--- %s ping statistics ---\n%d packets transmitted, %d packets received, %d%% packet loss\n", c.args[0], sent, got, (sent-got)*100/max(1, sent))
	if got == 0 {
		return 1
	}
	return 0
}

// open takes a raw socket, or where that is not allowed the kernel's own
// (since 3.0, for the groups of net.ipv4.ping_group_range).
func (p *pinger) open(ip net.IP) {
	raw, dgram, any := "ip4:icmp", "udp4", "0.0.0.0"
	if p.v6 {
		raw, dgram, any = "ip6:ipv6-icmp", "udp6", "::"
	}
	var err error
	p.dst = &net.IPAddr{IP: ip}
	if p.conn, err = icmp.ListenPacket(raw, any); err == nil {
		return
	}
	first := err
	if p.conn, err = icmp.ListenPacket(dgram, any); err != nil {
		p.die("%s", netReason(first))
	}
	p.dst = &net.UDPAddr{IP: ip}
}

func (p *pinger) once(seq int, patience time.Duration) (time.Duration, net.Addr, error) {
	var kind icmp.Type = ipv4.ICMPTypeEcho
	var reply icmp.Type = ipv4.ICMPTypeEchoReply
	proto := 1
	if p.v6 {
		kind, reply, proto = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	msg := icmp.Message{Type: kind, Body: &icmp.Echo{ID: p.id, Seq: seq & 0xffff, Data: make([]byte, p.size)}}
	b, err := msg.Marshal(nil)
	if err != nil {
		return 0, nil, err
	}
	start := time.Now()
	if _, err := p.conn.WriteTo(b, p.dst); err != nil {
		return 0, nil, err
	}
	p.conn.SetReadDeadline(start.Add(patience))
	buf := make([]byte, 64<<10)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return 0, nil, err
		}
		m, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil || m.Type != reply {
			continue
		}
		_, udp := p.dst.(*net.UDPAddr) // then the kernel has set the ID, and sorted the replies
		if e, ok := m.Body.(*icmp.Echo); ok && e.Seq == seq&0xffff && (udp || e.ID == p.id) {
			if u, ok := from.(*net.UDPAddr); ok {
				from = &net.IPAddr{IP: u.IP}
			}
			return time.Since(start), from, nil
		}
	}
}
