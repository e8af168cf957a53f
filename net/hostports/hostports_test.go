package hostports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"coracle/net/forward"
	"coracle/net/listen"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// endpoint is a container's place in a run directory.
func endpoint(t *testing.T, _ string, number int, exposed ...uint16) *network.Endpoint {
	t.Helper()
	ep := &network.Endpoint{
		Format: network.Format, NetworkID: strings.Repeat("a", 64), NetworkName: "pond", ContainerID: fmt.Sprintf("%064x", number), Container: fmt.Sprint("c", number),
		IPv4: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 88, 7, byte(number)}), 24), Rung: "hostports",
	}
	for _, p := range exposed {
		ep.Exposed = append(ep.Exposed, network.PortRange{Proto: "tcp", First: p, Count: 1})
	}
	return ep
}

func write(t *testing.T, run string, ep *network.Endpoint) {
	t.Helper()
	dir := network.Dir(run, ep.NetworkID)
	data, err := json.Marshal(ep)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ep.ContainerID), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wire(t *testing.T, run string, ep *network.Endpoint, publish ...network.Publish) (*wiring, []network.Cannot, error) {
	t.Helper()
	write(t, run, ep)
	n := &network.Network{Format: network.Format, Default: true}
	s := &network.Sandbox{ContainerID: ep.ContainerID, Container: ep.Container, Endpoints: []*network.Endpoint{ep}, Networks: map[string]*network.Network{ep.NetworkID: n}, Publish: publish}
	s.Warn = func(text string) { t.Log("warning: ", text) }
	w, not, err := New(Options{Run: run}).Open(context.Background(), s)
	if err != nil {
		return nil, not, err
	}
	t.Cleanup(func() { w.Close() })
	return w.(*wiring), not, nil
}

// free is a port that nobody has, on any address.
func free(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func serve(t *testing.T, addr, text string) net.Listener {
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
			io.WriteString(c, text)
			c.Close()
		}
	}()
	return l
}

func read(addr string) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func becomes(t *testing.T, addr, want string) {
	t.Helper()
	var got string
	var err error
	for range 200 {
		if got, err = read(addr); got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s: %q (%v), want %q", addr, got, err, want)
}

// TestWhereItListens: a service is found at its container's address wherever it
// listens, also after it began anew elsewhere.
func TestWhereItListens(t *testing.T) {
	p := free(t)
	w, _, err := wire(t, t.TempDir(), endpoint(t, "", 2, p))
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprint("127.88.7.2:", p)
	if _, err := read(at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("before it listens: %v", err)
	}
	l := serve(t, fmt.Sprint("127.0.0.1:", p), "loopback")
	becomes(t, at, "loopback")
	l.Close()
	for range 200 {
		// The forwarder goes when it sees that, or all addresses stay taken.
		if w.stand(listen.Look("/proc/self")); w.held() == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	l = serve(t, fmt.Sprint("0.0.0.0:", p), "all")
	becomes(t, at, "all")
	l.Close()
	serve(t, at, "its own")
	becomes(t, at, "its own")
}

func (w *wiring) held() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.carried)
}

// TestMoved: a declared port that is served elsewhere, and a published one.
func TestMoved(t *testing.T) {
	declared, real := free(t), free(t)
	ep := endpoint(t, "", 3, declared)
	ep.Ports = []network.Real{{Proto: "tcp", Port: declared, At: netip.AddrPortFrom(netip.IPv4Unspecified(), real)}}
	w, _, err := wire(t, t.TempDir(), ep, network.Publish{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Port: real, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, fmt.Sprint("127.0.0.1:", real), "moved")
	becomes(t, fmt.Sprint("127.88.7.3:", declared), "moved")
	becomes(t, fmt.Sprint("127.88.7.3:", real), "moved")
	becomes(t, fmt.Sprint("127.0.0.1:", w.Ports()[0].Host), "moved")
}

// TestConflict: who would listen on the same port is found before it starts.
func TestConflict(t *testing.T) {
	run, p := t.TempDir(), free(t)
	if _, _, err := wire(t, run, endpoint(t, run, 4, p)); err != nil {
		t.Fatal(err)
	}
	second := endpoint(t, run, 5, p)
	_, _, err := wire(t, run, second)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || conflict.Other != "c4" || !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "PORT") {
		t.Fatalf("two on port %d: %v", p, err)
	}
	// The way out that the error names.
	second.Ports = []network.Real{{Proto: "tcp", Port: p, At: netip.AddrPortFrom(netip.IPv4Unspecified(), free(t))}}
	if _, _, err := wire(t, run, second); err != nil {
		t.Error("on another port: ", err)
	}
	taken := serve(t, "127.0.0.1:0", "host").Addr().(*net.TCPAddr)
	_, _, err = wire(t, run, endpoint(t, run, 6, uint16(taken.Port)))
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "another program of the host") {
		t.Errorf("a port of the host's: %v", err)
	}
	var bind *forward.TakenError
	_, _, err = wire(t, run, endpoint(t, run, 7), network.Publish{Proto: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), Host: uint16(taken.Port), Port: free(t), Count: 1})
	if !errors.As(err, &bind) {
		t.Errorf("a published port that is taken: %v", err)
	}
}

// TestShadowed: a port cannot be carried from an address where somebody who
// listens on all of them answers.
func TestShadowed(t *testing.T) {
	run := t.TempDir()
	there := serve(t, "0.0.0.0:0", "another").Addr().(*net.TCPAddr)
	ep := endpoint(t, run, 8, uint16(there.Port))
	ep.Ports = []network.Real{{Proto: "tcp", Port: uint16(there.Port), At: netip.AddrPortFrom(netip.IPv4Unspecified(), free(t))}}
	_, _, err := wire(t, run, ep)
	var conflict *ConflictError
	if !errors.As(err, &conflict) || !conflict.Everywhere || !strings.Contains(err.Error(), "at all addresses") {
		t.Errorf("%v", err)
	}
}

func TestCannot(t *testing.T) {
	n := &network.Network{}
	n.Name, n.Internal, n.EnableIPv6 = "pond", true, true
	not, err := New(Options{}).Check(n)
	if err != nil || len(not) != 2 {
		t.Errorf("%v, %v", not, err)
	}
	s := &network.Sandbox{Networks: map[string]*network.Network{"a": n}}
	w, not, err := New(Options{Run: t.TempDir()}).Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if len(not) != 1 || !strings.Contains(not[0].String(), "internal") {
		t.Errorf("%v", not)
	}
}

func TestLeavesNothing(t *testing.T) {
	p := free(t)
	listen.Look("/proc/self")
	before, routines := files(t), runtime.NumGoroutine()
	ep := endpoint(t, "", 8, p)
	w, _, err := wire(t, t.TempDir(), ep)
	if err != nil {
		t.Fatal(err)
	}
	l := serve(t, fmt.Sprint("127.0.0.1:", p), "x")
	becomes(t, fmt.Sprint("127.88.7.8:", p), "x")
	w.Disconnect(context.Background(), ep, nil)
	if _, err := read(fmt.Sprint("127.88.7.8:", p)); err == nil {
		t.Error("reached after it left the network")
	}
	w.Connect(context.Background(), ep, nil)
	becomes(t, fmt.Sprint("127.88.7.8:", p), "x")
	l.Close()
	w.Close()
	for i := 0; files(t) > before || runtime.NumGoroutine() > routines; i++ {
		if i == 200 {
			t.Fatalf("%d descriptors before, %d after; %d goroutines, %d", before, files(t), routines, runtime.NumGoroutine())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func files(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
