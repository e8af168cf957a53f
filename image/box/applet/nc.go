package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func nc(c *call) int {
	o := c.opts("lup:w:zvnks:q:U4i:N", "listen=l", "udp=u", "source-port=p")
	network := "tcp"
	if o.has('u') {
		network = "udp"
	}
	if o.has('U') {
		network = "unix"
	}
	wait := time.Duration(0)
	if s, ok := o.last('w'); ok {
		wait = c.duration(s)
	}
	if o.has('l') {
		return ncListen(c, network, o, wait)
	}
	addr := ""
	switch {
	case o.has('U'):
		c.want(1, 1)
		addr = c.path(c.args[0])
	default:
		c.want(2, 2)
		addr = net.JoinHostPort(c.args[0], c.args[1])
	}
	d := net.Dialer{Timeout: wait, Resolver: &net.Resolver{PreferGo: true}}
	if p, ok := o.last('p'); ok {
		n, err := strconv.Atoi(p)
		if err != nil {
			c.misuse("bad port '%s'", p)
		}
		if o.has('u') {
			d.LocalAddr = &net.UDPAddr{Port: n}
		} else {
			d.LocalAddr = &net.TCPAddr{Port: n}
		}
	}
	conn, err := d.DialContext(c.ctx, network, addr)
	if err != nil {
		c.die("%s: %s", addr, netReason(err))
	}
	if o.has('v') || o.has('z') && o.has('v') {
		fmt.Fprintf(c.Err, "%s open\n", addr)
	}
	if o.has('z') {
		conn.Close()
		return 0
	}
	return ncRelay(c, conn, wait)
}

func ncListen(c *call, network string, o opts, wait time.Duration) int {
	addr := ""
	switch {
	case network == "unix":
		c.want(1, 1)
		addr = c.path(c.args[0])
	case o.has('p'):
		addr = o.str('s', "") + ":" + o.str('p', "")
	default:
		c.want(1, 2)
		addr = ":" + c.args[len(c.args)-1]
		if len(c.args) == 2 {
			addr = net.JoinHostPort(c.args[0], c.args[1])
		}
	}
	if network == "udp" {
		return ncListenUDP(c, addr, o, wait)
	}
	ln, err := (&net.ListenConfig{}).Listen(c.ctx, network, addr)
	if err != nil {
		c.die("listen on %s: %s", addr, netReason(err))
	}
	defer ln.Close()
	stop := context.AfterFunc(c.ctx, func() { ln.Close() })
	defer stop()
	if o.has('v') {
		fmt.Fprintf(c.Err, "listening on %s\n", ln.Addr())
	}
	for {
		if t, ok := ln.(*net.TCPListener); ok && wait > 0 {
			t.SetDeadline(time.Now().Add(wait))
		}
		conn, err := ln.Accept()
		if err != nil {
			if c.ctx.Err() != nil {
				return 143
			}
			c.die("accept: %s", netReason(err))
		}
		if !o.has('k') {
			ln.Close()
			return ncRelay(c, conn, wait)
		}
		ncRelay(c, conn, wait)
	}
}

// ncListenUDP talks to whom the first datagram comes from.
func ncListenUDP(c *call, addr string, o opts, wait time.Duration) int {
	pc, err := (&net.ListenConfig{}).ListenPacket(c.ctx, "udp", addr)
	if err != nil {
		c.die("listen on %s: %s", addr, netReason(err))
	}
	if o.has('v') {
		fmt.Fprintf(c.Err, "listening on %s\n", pc.LocalAddr())
	}
	stop := context.AfterFunc(c.ctx, func() { pc.Close() })
	defer stop()
	if wait > 0 {
		pc.SetReadDeadline(time.Now().Add(wait))
	}
	buf := make([]byte, 64<<10)
	n, peer, err := pc.ReadFrom(buf)
	if err != nil {
		pc.Close()
		c.die("%s", netReason(err))
	}
	c.Stdio.Out.Write(buf[:n])
	return ncRelay(c, &datagrams{pc, peer}, wait)
}

// datagrams is a packet socket that talks to one peer.
type datagrams struct {
	net.PacketConn
	peer net.Addr
}

func (d *datagrams) Read(p []byte) (int, error) {
	for {
		n, from, err := d.ReadFrom(p)
		if err != nil || from.String() == d.peer.String() {
			return n, err
		}
	}
}
func (d *datagrams) Write(p []byte) (int, error) { return d.WriteTo(p, d.peer) }
func (d *datagrams) RemoteAddr() net.Addr        { return d.peer }

// ncDrain lets our input finish after the peer has ended its side, as long as it
// flows: a person who types nothing more does not hold up the end.
func ncDrain(c *call, sent chan struct{}, blocked *atomic.Int64) {
	for {
		select {
		case <-sent:
			return
		case <-c.ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
		if t := blocked.Load(); t != 0 && time.Now().UnixNano()-t > int64(250*time.Millisecond) {
			return
		}
	}
}

// ncRelay copies both ways. The end of our input is passed on as the end of the
// connection's; we leave when the peer has ended, or when neither side has
// said anything for the time that -w gives.
func ncRelay(c *call, conn net.Conn, wait time.Duration) int {
	defer conn.Close()
	stop := context.AfterFunc(c.ctx, func() { conn.Close() })
	defer stop()
	var mu sync.Mutex
	alive := func() {
		if wait > 0 {
			mu.Lock()
			conn.SetReadDeadline(time.Now().Add(wait))
			mu.Unlock()
		}
	}
	alive()
	var blocked atomic.Int64 // since when our input has given nothing; 0: it flows
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		buf := make([]byte, 32<<10)
		for {
			blocked.Store(time.Now().UnixNano())
			n, err := c.In.Read(buf)
			blocked.Store(0)
			if n > 0 {
				if _, werr := conn.Write(buf[:n]); werr != nil {
					return
				}
				alive()
			}
			if err != nil {
				break
			}
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if _, werr := c.Stdio.Out.Write(buf[:n]); werr != nil {
				return 141
			}
			alive()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			ncDrain(c, sent, &blocked)
			return 0
		case c.ctx.Err() != nil:
			return 143
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0
		default:
			c.warn("%s", netReason(err))
			return 1
		}
	}
}
