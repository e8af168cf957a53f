package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// ways are all ways to the far side that must behave alike.
var ways = map[string]Way{
	"splice": {},
	"plain":  {Plain: true},
	"dial": {Dial: func(ctx context.Context, network string, _, to netip.AddrPort) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, to.String())
	}},
}

func eachWay(t *testing.T, f func(t *testing.T, way Way)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { f(t, way) })
	}
}

// publish forwards one port of the loopback interface to a service and returns
// where clients go.
func publish(t *testing.T, way Way, proto, service string) string {
	t.Helper()
	to := netip.MustParseAddrPort(service)
	way.To = func(string, uint16) (netip.AddrPort, bool) { return to, true }
	got, r, err := Reserve([]network.Publish{{Proto: proto, HostIP: netip.MustParseAddr("127.0.0.1"), Port: 80, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Serve(way); err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(got[0].HostIP, got[0].Host).String()
}

func listen(t *testing.T, addr string, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

// TestHalfClose: each side ends its direction while the other goes on.
func TestHalfClose(t *testing.T) {
	data := bytes.Repeat([]byte("over the water "), 1<<18)
	eachWay(t, func(t *testing.T, way Way) {
		t.Run("client first", func(t *testing.T) {
			at := publish(t, way, "tcp", listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
				defer c.Close()
				h := sha256.New()
				io.Copy(h, c)
				c.Write(h.Sum(nil)) // after the client's end
			}))
			c := dial(t, at)
			c.Write(data)
			c.CloseWrite()
			got, err := io.ReadAll(c)
			want := sha256.Sum256(data)
			if err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("%x, %v", got, err)
			}
		})
		t.Run("service first", func(t *testing.T) {
			heard := make(chan []byte, 1)
			at := publish(t, way, "tcp", listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
				defer c.Close()
				c.Write(data)
				c.CloseWrite()
				got, _ := io.ReadAll(c)
				heard <- got
			}))
			c := dial(t, at)
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
			}
			c.Write([]byte("thanks"))
			c.Close()
			if got := <-heard; string(got) != "thanks" {
				t.Errorf("after its own end the service heard %q", got)
			}
		})
	})
}

// TestReset: a service that dies is not taken for one that has said all.
func TestReset(t *testing.T) {
	eachWay(t, func(t *testing.T, way Way) {
		at := publish(t, way, "tcp", listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
			io.ReadFull(c, make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		}))
		c := dial(t, at)
		c.Write([]byte("x"))
		if _, err := io.ReadAll(c); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the client saw %v", err)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	eachWay(t, func(t *testing.T, way Way) {
		// The reset may come before connect(2) has returned.
		c, err := net.Dial("tcp", publish(t, way, "tcp", gone))
		if err == nil {
			_, err = io.ReadAll(c)
			c.Close()
		}
		if !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the client saw %v", err)
		}
	})
}

// TestBackPressure: a service that does not read stops its client, and no other.
func TestBackPressure(t *testing.T) {
	eachWay(t, func(t *testing.T, way Way) {
		read := make(chan struct{})
		at := publish(t, way, "tcp", listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
			first := make([]byte, 1)
			io.ReadFull(c, first)
			if first[0] == 's' {
				<-read
			}
			n, _ := io.Copy(io.Discard, c)
			c.Write([]byte{byte(n >> 20)})
			c.Close()
		}))
		slow := dial(t, at)
		slow.Write([]byte("s"))
		chunk := make([]byte, 1<<20)
		sent := 0
		for ; sent < 256; sent++ {
			slow.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			if n, err := slow.Write(chunk); err != nil {
				chunk = chunk[n:]
				break
			}
		}
		if sent == 256 {
			t.Fatal("256 MB went into a service that does not read")
		}
		quick := dial(t, at)
		quick.Write([]byte("q"))
		quick.Write(make([]byte, 3<<20))
		quick.CloseWrite()
		if got, err := io.ReadAll(quick); err != nil || len(got) != 1 || got[0] != 3 {
			t.Errorf("beside it: %v, %v", got, err)
		}
		close(read)
		slow.SetWriteDeadline(time.Now().Add(30 * time.Second))
		slow.Write(chunk)
		slow.CloseWrite()
		if got, err := io.ReadAll(slow); err != nil || len(got) != 1 || int(got[0]) != sent+1 {
			t.Errorf("after it read: %v MB of %d, %v", got, sent+1, err)
		}
	})
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("missing feature: IPv6: %v", err)
	}
	l.Close()
	at := listen(t, "[::1]:0", func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
	way := Way{To: func(string, uint16) (netip.AddrPort, bool) { return netip.MustParseAddrPort(at), true }}
	got, r, err := Reserve([]network.Publish{{Proto: "tcp", Port: 80, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Serve(way)
	// Without an address of the host: both families, on one port.
	for _, host := range []string{"127.0.0.1", "::1"} {
		c := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), got[0].Host).String())
		c.Write([]byte("six"))
		c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "six" {
			t.Errorf("%s: %q, %v", host, b, err)
		}
	}
}

// TestHalfOpen: clients by the thousand, whose service does not answer, cost no
// goroutine.
func TestHalfOpen(t *testing.T) {
	fd, err := bind("tcp", netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Listen(fd, 0) // nobody accepts, and the queue is full at once
	p, _ := boundTo(fd)
	at := publish(t, Way{}, "tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p).String())
	before := runtime.NumGoroutine()
	var conns []int
	for range 1000 {
		c, err := socket(unix.AF_INET, unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if err := unix.Connect(c, sockaddr(netip.MustParseAddrPort(at))); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	if n := runtime.NumGoroutine() - before; n > 10 {
		t.Errorf("%d goroutines for 1000 clients", n)
	}
	for _, c := range conns {
		unix.Close(c)
	}
}

// TestMany: more clients than are carried at once wait, and are served then.
func TestMany(t *testing.T) {
	eachWay(t, func(t *testing.T, way Way) {
		way.MaxConns = 4
		at := publish(t, way, "tcp", listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c); c.Close() }))
		var wg sync.WaitGroup
		for i := range 64 {
			c := dial(t, at)
			wg.Go(func() {
				want := strings.Repeat("x", i+1)
				io.WriteString(c, want)
				c.CloseWrite()
				if got, err := io.ReadAll(c); string(got) != want {
					t.Errorf("client %d: %q, %v", i, got, err)
				}
				c.Close()
			})
		}
		wg.Wait()
	})
}

// TestRange: thousands of ports are descriptors, and nothing else.
func TestRange(t *testing.T) {
	const count = 10000
	before := runtime.NumGoroutine()
	_, r, err := Reserve([]network.Publish{{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.77"), Host: 20000, Port: 1000, Count: count}})
	if errors.Is(err, unix.EMFILE) {
		if !strings.Contains(err.Error(), "10000 sockets are needed") {
			t.Error(err)
		}
		t.Skip("missing: a limit on open files above 10000 (ulimit -n)")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
	var asked atomic.Uint32
	err = r.Serve(Way{To: func(_ string, port uint16) (netip.AddrPort, bool) {
		asked.Store(uint32(port))
		return netip.MustParseAddrPort(at), true
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n := runtime.NumGoroutine() - before; n > 10 {
		t.Errorf("%d goroutines for %d ports", n, count)
	}
	c := dial(t, "127.0.0.77:29999")
	c.Write([]byte("last"))
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "last" || asked.Load() != 10999 {
		t.Errorf("%q of port %d, %v", got, asked.Load(), err)
	}
}

func TestTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.78:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	one := network.Publish{Proto: "tcp", HostIP: at.Addr(), Host: at.Port(), Port: 80, Count: 1}
	fds := openFiles(t)
	_, _, err = Reserve([]network.Publish{{Proto: "udp", HostIP: at.Addr(), Port: 53, Count: 1}, one})
	if err == nil || err.Error() != "Bind for "+at.String()+" failed: port is already allocated" {
		t.Errorf("%v", err)
	}
	if n := openFiles(t); n != fds {
		t.Errorf("%d descriptors before, %d after", fds, n)
	}
	// One of a range that is free.
	one.Last = one.Host + 20
	got, r, err := Reserve([]network.Publish{one})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if got[0].Host <= one.Host || got[0].Host > one.Last {
		t.Errorf("chose %d of %d to %d", got[0].Host, one.Host, one.Last)
	}
	for _, bad := range []network.Publish{{Proto: "sctp", Port: 1, Host: 1}, {Proto: "tcp", Host: 65000, Port: 1, Count: 1000}, {Proto: "tcp", HostIP: netip.MustParseAddr("192.0.2.1"), Port: 1}} {
		if _, r, err := Reserve([]network.Publish{bad}); err == nil {
			r.Close()
			t.Errorf("%v was taken", bad)
		}
	}
}

// TestUnpaced: what stays on this machine is not paced by what the host has for the
// internet.
func TestUnpaced(t *testing.T) {
	at := netip.MustParseAddrPort(listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c); c.Close() }))
	got, r, err := Reserve([]network.Publish{{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Port: 80, Count: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Serve(Way{To: func(string, uint16) (netip.AddrPort, bool) { return at, true }}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, netip.AddrPortFrom(got[0].HostIP, got[0].Host).String())
	c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	Near(c)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if name, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION); name != "reno" {
			t.Errorf("from the client: %q, %v", name, err)
		}
	})
	r.srv.loop.call(func() {
		for c := range r.srv.conns {
			for side, fd := range map[string]int{"client": c.near, "service": c.far} {
				if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); name != "reno" {
					t.Errorf("to the %s: %q, %v", side, name, err)
				}
			}
			for peer, want := range map[string]bool{"127.0.0.7": true, "192.0.2.1": false} {
				if got := sameMachine(c.near, netip.MustParseAddr(peer)); got != want {
					t.Errorf("%s is on this machine: %v", peer, got)
				}
			}
		}
	})
}

// TestStream: streams by the dozen, of which not all have a large buffer.
func TestStream(t *testing.T) {
	var most atomic.Int32
	var wg sync.WaitGroup
	for range 2 * mostLent {
		wg.Go(func() {
			data := bytes.Repeat([]byte("a plank"), 1<<18)
			r, w := net.Pipe()
			go func() {
				for rest := data; len(rest) > 0; rest = rest[min(len(rest), 1<<20):] {
					w.Write(rest[:min(len(rest), 1<<20)])
					most.Store(max(most.Load(), int32(len(lent))))
				}
				w.Close()
			}()
			var got bytes.Buffer
			if err := stream(&got, r); err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%d bytes of %d, %v", got.Len(), len(data), err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n == 0 || n > mostLent || len(lent) != 0 {
		t.Errorf("%d large buffers at once, of %d; %d were not given back", n, mostLent, len(lent))
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestLeavesNothing: what was carried is gone with the forwarder.
func TestLeavesNothing(t *testing.T) {
	at := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(io.Discard, c); c.Close() })
	fds := openFiles(t)
	eachWay(t, func(t *testing.T, way Way) {
		c := dial(t, publish(t, way, "tcp", at))
		c.Write([]byte("hello"))
		time.Sleep(50 * time.Millisecond)
	})
	for range 100 {
		if openFiles(t) <= fds {
			return
		}
		runtime.GC() // the net package keeps pipes until then
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d descriptors before, %d after", fds, openFiles(t))
}

// TestAddDrop: ports come and go while others are carried.
func TestAddDrop(t *testing.T) {
	at := netip.MustParseAddrPort(listen(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(c, c); c.Close() }))
	r := new(Reserved)
	defer r.Close()
	if err := r.Serve(Way{To: func(string, uint16) (netip.AddrPort, bool) { return at, true }}); err != nil {
		t.Fatal(err)
	}
	echo := func(addr string) error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		c.Write([]byte("x"))
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	for range 2 {
		for _, ip := range []string{"127.0.0.81", "127.0.0.82"} {
			for _, proto := range []string{"tcp", "udp"} {
				if err := r.Add(network.Publish{Proto: proto, HostIP: netip.MustParseAddr(ip), Host: 34567, Port: 1, Count: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if err := echo(ip + ":34567"); err != nil {
				t.Error(err)
			}
		}
		var taken *TakenError
		if err := r.Add(network.Publish{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.81"), Host: 34567, Port: 1, Count: 1}); !errors.As(err, &taken) {
			t.Errorf("taken twice: %v", err)
		}
		r.Drop("tcp", netip.MustParseAddrPort("127.0.0.81:34567"))
		r.Drop("udp", netip.MustParseAddrPort("127.0.0.81:34567"))
		if err := echo("127.0.0.81:34567"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a port that was dropped: %v", err)
		}
		if err := echo("127.0.0.82:34567"); err != nil {
			t.Error("the other: ", err)
		}
		r.Drop("tcp", netip.MustParseAddrPort("127.0.0.82:34567"))
		r.Drop("udp", netip.MustParseAddrPort("127.0.0.82:34567"))
	}
}
