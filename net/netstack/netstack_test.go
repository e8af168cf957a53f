package netstack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"coracle/backends/isolate"
	"coracle/backends/isolate/inside"
	"coracle/internal/sys"
	"coracle/net/network"
	"coracle/probe"
	"coracle/probe/probetest"

	dnetwork "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace that a test made.
type space struct {
	t  *testing.T
	fd int
}

func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{t: t, fd: -1}
	var err error
	sys.OnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.fd, err = unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
	})
	if err != nil {
		t.Fatal("a network namespace: ", err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// do calls f on a thread in the namespace.
func (s *space) do(f func() error) error {
	var err error
	sys.OnThread(func() {
		if err = unix.Setns(s.fd, unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	})
	return err
}

// link changes an interface of the namespace.
func (s *space) link(name string, change func(h *netlink.Handle, l netlink.Link) error) {
	s.t.Helper()
	err := s.do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(name)
		if err == nil {
			err = change(h, l)
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
}

// address gives an interface one more address.
func (s *space) address(name, cidr string) {
	s.t.Helper()
	s.link(name, func(h *netlink.Handle, l netlink.Link) error {
		a, err := netlink.ParseAddr(cidr)
		if err == nil {
			err = h.AddrAdd(l, a)
		}
		return err
	})
}

// inside does what a second stage does with an isolate.Net.
func (s *space) inside(what *isolate.Net) map[string]*os.File {
	s.t.Helper()
	s.link("lo", func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetUp(l) })
	var names []string
	var fds []int
	err := s.do(func() (err error) {
		names, fds, err = inside.Do(what)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return isolate.NetFiles(names, fds)
}

// pairs has the tests do without TAPs.
var pairs bool

// TestPairs runs all of them on packet sockets.
func TestPairs(t *testing.T) {
	pairs = true
	defer func() { pairs = false }()
	for name, test := range map[string]func(*testing.T){
		"each other": TestEachOther, "out": TestOut, "published": TestPublished, "spoof": TestSpoof, "nothing is left": TestLeavesNothing,
	} {
		t.Run(name, test)
	}
}

// lake is a network in a run directory of the test's.
type lake struct {
	t   *testing.T
	run string
	n   *network.Network
}

func newLake(t *testing.T, run string, id string, internal bool) *lake {
	t.Helper()
	wire := probe.Tun
	if pairs {
		wire = probe.NetPacket
	}
	probetest.Need(t, probe.NSNet, probe.NSNetUnshare, probe.NSNetSetns, wire)
	n := &network.Network{Format: network.Format}
	n.ID, n.Name, n.Internal = strings.Repeat(id, 64), "lake"+id, internal
	return &lake{t, run, n}
}

// boat is a container on it.
type boat struct {
	*space
	ep *network.Endpoint
	w  *wiring
}

func (l *lake) boat(number int, publish ...network.Publish) *boat {
	t := l.t
	t.Helper()
	ep := &network.Endpoint{
		Format: network.Format, NetworkID: l.n.ID, NetworkName: l.n.Name, ContainerID: fmt.Sprintf("%063x%s", number, l.n.ID[:1]),
		Container: fmt.Sprint("boat", number), Inner: "eth0", MAC: dnetwork.HardwareAddr{0x02, 0x42, 10, 9, 0, byte(number)},
		IPv4: netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", number)), IPv6: netip.MustParsePrefix(fmt.Sprintf("fd00:9::%d/64", number)),
	}
	ep.Names = []string{ep.Container}
	if !l.n.Internal {
		ep.Gateway4, ep.Gateway6 = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd00:9::1")
	}
	dir := network.Dir(l.run, l.n.ID)
	data, err := json.Marshal(ep)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(dir+"/.new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(dir+"/.new", filepath.Join(dir, ep.ContainerID))
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &network.Sandbox{ContainerID: ep.ContainerID, Endpoints: []*network.Endpoint{ep}, Networks: map[string]*network.Network{l.n.ID: l.n}, Publish: publish}
	d := New(Options{Run: l.run, Pairs: pairs})
	// The host of these tests is its loopback interface.
	d.self = func(v6 bool) (netip.Addr, bool) {
		if v6 {
			return netip.IPv6Loopback(), true
		}
		return netip.MustParseAddr("127.0.0.1"), true
	}
	w, _, err := d.Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	b := &boat{newSpace(t), ep, w.(*wiring)}
	what, err := w.Inside()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Opened(b.inside(what)); err != nil {
		t.Fatal(err)
	}
	return b
}

// dial and listen make sockets in the container.
func (b *boat) dial(network, addr string) (c net.Conn, err error) {
	err = b.do(func() error {
		d := net.Dialer{Timeout: 2 * time.Second, FallbackDelay: -1}
		c, err = d.Dial(network, addr)
		return err
	})
	return c, err
}

func (b *boat) listen(addr string, serve func(net.Conn)) {
	b.t.Helper()
	var l net.Listener
	err := b.do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go accept(l, serve)
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); serve(c) }()
	}
}

// hash answers with the hash of all that came before the end.
func hash(c net.Conn) {
	h := sha256.New()
	io.Copy(h, c)
	c.Write(h.Sum(nil))
}

// talk sends 8 MB, or one where that takes its time, ends its direction, and wants
// the hash.
func talk(c net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	size := 8 << 20
	if testing.Short() {
		size = 1 << 20
	}
	data := bytes.Repeat([]byte("to the other shore "), size/19)
	if _, err := c.Write(data); err != nil {
		return err
	}
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	want := sha256.Sum256(data)
	if err == nil && !bytes.Equal(got, want[:]) {
		err = fmt.Errorf("%d bytes answered, %x", len(got), got)
	}
	return err
}

func echo4(pc net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		pc.WriteTo(buf[:n], from)
	}
}

func asks(c net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer c.Close()
	want := bytes.Repeat([]byte("u"), 3000)
	buf := make([]byte, 1<<16)
	for range 20 {
		c.Write(want)
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if n, err := c.Read(buf); err == nil {
			if !bytes.Equal(buf[:n], want) {
				return fmt.Errorf("%d bytes answered", n)
			}
			return nil
		}
	}
	return errors.New("no answer")
}

func TestEachOther(t *testing.T) {
	l := newLake(t, t.TempDir(), "a", true)
	a, b := l.boat(2), l.boat(3)
	b.listen(":80", hash)
	for _, addr := range []string{"10.9.0.3:80", "[fd00:9::3]:80"} {
		if err := talk(a.dial("tcp", addr)); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	var pc net.PacketConn
	if err := b.do(func() (err error) { pc, err = net.ListenPacket("udp", ":53"); return err }); err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go echo4(pc)
	if err := asks(a.dial("udp", "10.9.0.3:53")); err != nil {
		t.Error("UDP: ", err)
	}
	if _, err := a.dial("tcp", "10.9.0.3:81"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port where nobody listens: %v", err)
	}
	// An internal network leads nowhere, and nobody has the gateway's address.
	if c, err := a.dial("tcp", "10.9.0.1:80"); err == nil {
		c.Close()
		t.Error("an internal network has a gateway")
	}
	// Who goes is gone, and who comes at its address is found.
	b.w.Close()
	if c, err := a.dial("tcp", "10.9.0.3:80"); err == nil {
		c.Close()
		t.Error("reached a container that is gone")
	}
	again := l.boat(3)
	again.listen(":80", hash)
	if err := talk(a.dial("tcp", "10.9.0.3:80")); err != nil {
		t.Error("after it came again: ", err)
	}
}

// TestOut: by the gateway to the host, and to what the host reaches.
func TestOut(t *testing.T) {
	l := newLake(t, t.TempDir(), "b", false)
	a := l.boat(2)
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go accept(host, hash)
	port := host.Addr().(*net.TCPAddr).Port
	if err := talk(a.dial("tcp", fmt.Sprint("10.9.0.1:", port))); err != nil {
		t.Error("TCP: ", err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go echo4(pc)
	if err := asks(a.dial("udp", fmt.Sprint("10.9.0.1:", pc.LocalAddr().(*net.UDPAddr).Port))); err != nil {
		t.Error("UDP: ", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().(*net.TCPAddr).Port
	free.Close()
	if _, err := a.dial("tcp", fmt.Sprint("10.9.0.1:", nobody)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port where nobody listens: %v", err)
	}
	if _, err := exec.LookPath("ping"); err == nil {
		a.pings("10.9.0.1")
	}
}

// pings pings one address once.
func (b *boat) pings(addr string) {
	b.t.Helper()
	err := b.do(func() error {
		out, err := exec.Command("ping", "-n", "-c", "1", "-W", "5", addr).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping %s: %w\n%s", addr, err, out)
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

func TestPublished(t *testing.T) {
	l := newLake(t, t.TempDir(), "c", false)
	b := l.boat(2, network.Publish{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Port: 80, Count: 1},
		network.Publish{Proto: "udp", HostIP: netip.MustParseAddr("127.0.0.1"), Port: 53, Count: 1})
	b.listen(":80", hash)
	var pc net.PacketConn
	if err := b.do(func() (err error) { pc, err = net.ListenPacket("udp", ":53"); return err }); err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go echo4(pc)
	ports := b.w.Ports()
	for range 3 {
		if err := talk(net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports[0].Host))); err != nil {
			t.Error("TCP: ", err)
		}
	}
	if err := asks(net.Dial("udp", fmt.Sprint("127.0.0.1:", ports[1].Host))); err != nil {
		t.Error("UDP: ", err)
	}
	// The client's own address is seen, where it is one that leads back.
	seen := make(chan string, 1)
	b.listen(":81", func(c net.Conn) { seen <- c.RemoteAddr().String() })
	c, err := b.w.dial(context.Background(), "tcp", netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("10.9.0.2:81"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-seen; got != "192.0.2.7:4711" {
		t.Errorf("the container saw %s", got)
	}
}

// TestSpoof: nobody speaks under another's address, or from another network.
func TestSpoof(t *testing.T) {
	run := t.TempDir()
	l := newLake(t, run, "d", true)
	a, b, c := l.boat(2), l.boat(3), l.boat(4)
	other := newLake(t, run, "e", true)
	d := other.boat(5)
	heard := make(chan string, 64)
	var pc net.PacketConn
	if err := c.do(func() (err error) { pc, err = net.ListenPacket("udp4", ":9"); return err }); err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		buf := make([]byte, 64)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n]) + " from " + from.(*net.UDPAddr).IP.String()
		}
	}()
	say := func(who *boat, as, text string) {
		who.do(func() error {
			dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(as)}}
			s, err := dialer.Dial("udp4", "10.9.0.4:9")
			if err != nil {
				return err
			}
			defer s.Close()
			for range 3 {
				s.Write([]byte(text))
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
	}
	a.address("eth0", "10.9.0.3/24")
	say(a, "10.9.0.3", "I am b")
	a.address("eth0", "10.9.0.77/24")
	say(a, "10.9.0.77", "I am new")
	a.link("eth0", func(h *netlink.Handle, l netlink.Link) error {
		return h.LinkSetHardwareAddr(l, net.HardwareAddr{0x02, 0x42, 10, 9, 0, 3})
	})
	say(a, "10.9.0.2", "I have b's MAC")
	say(d, "10.9.0.5", "I am from elsewhere")
	say(b, "10.9.0.3", "it is me")
	deadline := time.After(5 * time.Second)
	for {
		select {
		case got := <-heard:
			if got != "it is me from 10.9.0.3" {
				t.Errorf("heard: %s", got)
				continue
			}
			return
		case <-deadline:
			t.Fatal("nothing was heard of who may speak")
		}
	}
}

// TestLeavesNothing: no descriptor, no socket, no goroutine; and a killed
// monitor's socket is swept.
func TestLeavesNothing(t *testing.T) {
	run := t.TempDir()
	l := newLake(t, run, "f", false)
	files, routines := openFiles(t), runtime.NumGoroutine()
	t.Run("life", func(t *testing.T) {
		l.t = t
		a := l.boat(2)
		if c, err := a.dial("tcp", "10.9.0.1:1"); err == nil {
			c.Close()
		}
	})
	l.t = t
	for i := 0; openFiles(t) > files || runtime.NumGoroutine() > routines; i++ {
		if i == 200 {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d descriptors before, %d after; %d goroutines, %d:\n%s", files, openFiles(t), routines, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(20 * time.Millisecond)
	}
	dir := network.Dir(run, l.n.ID)
	ep := &network.Endpoint{NetworkID: l.n.ID, MAC: dnetwork.HardwareAddr{0x02, 0x42, 10, 9, 0, 2}}
	path := filepath.Join(dir, socketName(macOf(ep)))
	if _, err := os.Lstat(path); err == nil {
		t.Error("its socket is still there")
	}
	os.WriteFile(path, nil, 0o600)
	for range 2 {
		if err := New(Options{Run: run}).Sweep(context.Background(), &network.Sandbox{Endpoints: []*network.Endpoint{ep}}); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("Sweep left it")
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

func FuzzFrame(f *testing.F) {
	ep := &network.Endpoint{MAC: dnetwork.HardwareAddr{2, 0, 0, 0, 0, 1}, IPv4: netip.MustParsePrefix("10.9.0.2/24"), IPv6: netip.MustParsePrefix("fd00::2/64")}
	f.Add(arpReply(everyone, netip.MustParseAddr("10.9.0.3"), macOf(ep), ep.IPv4.Addr())[vnetLen:])
	f.Add(packet4(everyone, macOf(ep), ep.IPv4.Addr(), netip.MustParseAddr("10.9.0.3"), make([]byte, 8))[vnetLen:])
	f.Add(packet6(everyone, macOf(ep), ep.IPv6.Addr(), ep.IPv6.Addr(), 58, 255, make([]byte, 24))[vnetLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < ethLen {
			return
		}
		fr := frame(b)
		if honest(fr, ep) && fr.src() != macOf(ep) {
			t.Error("not its address")
		}
		if kind, target, ok := fr.neighbor(); ok && fr.kind() == typeIPv6 && kind == 135 {
			neighborReply(fr, gatewayMAC, target)
		}
	})
}
