package forward

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"coracle/net/network"
)

// echoUDP answers what it hears, unless that begins with '!'.
func echoUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if n == 0 || buf[0] != '!' {
				c.WriteTo(buf[:n], from)
			}
		}
	}()
	return c.LocalAddr().String()
}

func dialUDP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks sends a datagram until an answer comes: nobody promises that none is lost.
func asks(c net.Conn, text string) error {
	buf := make([]byte, 64<<10)
	for range 20 {
		c.Write([]byte(text))
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if n, err := c.Read(buf); err == nil {
			if string(buf[:n]) != text {
				return fmt.Errorf("%q was answered to %q", buf[:n], text)
			}
			return nil
		}
	}
	return fmt.Errorf("no answer to %q", text)
}

func TestUDP(t *testing.T) {
	eachWay(t, func(t *testing.T, way Way) {
		at := publish(t, way, "udp", echoUDP(t))
		for i := range 5 {
			if err := asks(dialUDP(t, at), fmt.Sprint("client ", i)); err != nil {
				t.Error(err)
			}
		}
		big := make([]byte, 60000)
		if err := asks(dialUDP(t, at), string(big)); err != nil {
			t.Error("60000 bytes: ", err)
		}
	})
}

// TestUDPFrom: who spoke to one of several addresses gets the answer from it.
func TestUDPFrom(t *testing.T) {
	to := netip.MustParseAddrPort(echoUDP(t))
	got, r, err := Reserve([]network.Publish{{Proto: "udp", HostIP: netip.IPv4Unspecified(), Port: 53, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Serve(Way{To: func(string, uint16) (netip.AddrPort, bool) { return to, true }})
	// A connected socket hears nobody else.
	if err := asks(dialUDP(t, fmt.Sprint("127.0.0.79:", got[0].Host)), "which"); err != nil {
		t.Error(err)
	}
}

// TestUDPFlood: senders without an answer push out each other, and nobody who
// talks.
func TestUDPFlood(t *testing.T) {
	eachWay(t, func(t *testing.T, way Way) {
		way.MaxSessions = 32
		service := echoUDP(t)
		to := netip.MustParseAddrPort(service)
		way.To = func(string, uint16) (netip.AddrPort, bool) { return to, true }
		got, r, err := Reserve([]network.Publish{{Proto: "udp", HostIP: netip.MustParseAddr("127.0.0.1"), Port: 53, Count: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Serve(way); err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprint("127.0.0.1:", got[0].Host)
		talker := dialUDP(t, at)
		if err := asks(talker, "before"); err != nil {
			t.Fatal(err)
		}
		before := openFiles(t)
		for range 500 {
			c, err := net.Dial("udp", at)
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("!flood"))
			c.Close()
		}
		time.Sleep(200 * time.Millisecond)
		var n int
		var kept bool
		r.srv.loop.call(func() {
			n = len(r.srv.names.all)
			for key, s := range r.srv.names.all {
				kept = kept || s.assured && key.addr == talker.LocalAddr().(*net.UDPAddr).AddrPort()
			}
		})
		if n > 32 {
			t.Errorf("%d sessions, at most 32 were wanted", n)
		}
		if !kept {
			t.Error("the one who talked was pushed out")
		}
		if f := openFiles(t); f > before+40 {
			t.Errorf("%d descriptors before the flood, %d after", before, f)
		}
		if err := asks(talker, "after"); err != nil {
			t.Error(err)
		}
		r.srv.loop.call(func() { r.srv.names.expire(time.Now().Add(assuredFor + time.Minute)); n = len(r.srv.names.all) })
		if n != 0 {
			t.Errorf("%d sessions live for ever", n)
		}
	})
}
