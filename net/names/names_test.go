package names

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle/net/network"

	"golang.org/x/net/dns/dnsmessage"
)

// endpoint writes an endpoint as the engine does, aside and renamed.
func endpoint(t testing.TB, dir string, ep network.Endpoint) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(ep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, ep.ContainerID)
	if err := os.WriteFile(dir+"/.new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/.new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func id(n int) string { return fmt.Sprintf("%064x", n) }

func ep(n int, four, six string, names ...string) network.Endpoint {
	e := network.Endpoint{Format: network.Format, ContainerID: id(n), NetworkID: "n", NetworkName: "lake", Container: names[0], Names: names}
	e.IPv4 = netip.MustParsePrefix(four)
	if six != "" {
		e.IPv6 = netip.MustParsePrefix(six)
	}
	return e
}

// bothWays are sockets of one port, which for TCP may be another program's.
func bothWays(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		defer udp.Close() // not before another is found
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

// served is a server over loopback sockets, and a resolver that asks it.
func served(t testing.TB, cfg Config) (*net.Resolver, string) {
	t.Helper()
	udp, tcp := bothWays(t)
	at := udp.LocalAddr().String()
	cfg.UDP, cfg.TCP = udp, tcp
	s, err := Serve(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}, at
}

func open(t testing.TB, dirs ...string) *Book {
	t.Helper()
	b, err := Open(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func lookup(t *testing.T, r *net.Resolver, network, name string) []string {
	t.Helper()
	addrs, err := r.LookupNetIP(context.Background(), network, name)
	var dns *net.DNSError
	if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
		t.Fatalf("%s: %v", name, err)
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.Unmap().String())
	}
	slices.Sort(out)
	return out
}

func TestNames(t *testing.T) {
	dir := t.TempDir() + "/networks/n"
	endpoint(t, dir, ep(1, "10.9.0.2/24", "fd00:9::2/64", "web", "abcdef012345", "www"))
	endpoint(t, dir, ep(2, "10.9.0.3/24", "", "Db", "www"))
	self := ep(3, "10.9.0.4/24", "", "app")
	self.Links = map[string]string{"store": id(2)}
	endpoint(t, dir, self)
	r, _ := served(t, Config{Book: open(t, dir), Self: func() []*network.Endpoint { return []*network.Endpoint{&self} }, Internal: inward})
	for _, c := range []struct{ network, name, want string }{
		{"ip4", "web.", "10.9.0.2"},
		{"ip6", "web.", "fd00:9::2"},
		{"ip", "web.", "10.9.0.2 fd00:9::2"},
		{"ip4", "WEB.", "10.9.0.2"},
		{"ip4", "abcdef012345.", "10.9.0.2"},
		{"ip", "www.", "10.9.0.2 10.9.0.3 fd00:9::2"},
		{"ip4", "web.lake.", "10.9.0.2"},
		{"ip4", "db.", "10.9.0.3"},
		{"ip6", "db.", ""},
		{"ip4", "store.", "10.9.0.3"},
		{"ip", "nobody.", ""},
		{"ip", "example.com.", ""},
	} {
		if got := strings.Join(lookup(t, r, c.network, c.name), " "); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.network, c.name, got, c.want)
		}
	}
	for addr, want := range map[string]string{"10.9.0.2": "web.lake.", "fd00:9::2": "web.lake.", "10.9.0.3": "Db.lake.", "10.9.0.99": ""} {
		got, _ := r.LookupAddr(context.Background(), addr)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

// TestNoData: a name without an address of that family exists, and says so, or
// the asker would give it up for the other family, too.
func TestNoData(t *testing.T) {
	dir := t.TempDir()
	endpoint(t, dir, ep(1, "10.9.0.2/24", "", "web"))
	_, at := served(t, Config{Book: open(t, dir)})
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeMX, dnsmessage.TypeHTTPS} {
		m := exchangeRaw(t, at, query(t, "web.", kind, 0))
		if m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 0 || !m.Response || !m.RecursionAvailable {
			t.Errorf("%v: %+v", kind, m)
		}
	}
}

// TestShuffled: those who take the first address find all in the end.
func TestShuffled(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		endpoint(t, dir, ep(i, fmt.Sprintf("10.9.0.%d/24", i+2), "", fmt.Sprint("w", i), "work"))
	}
	_, at := served(t, Config{Book: open(t, dir)})
	first := map[[4]byte]bool{}
	for range 200 {
		m := exchangeRaw(t, at, query(t, "work.", dnsmessage.TypeA, 0))
		if len(m.Answers) != 4 {
			t.Fatalf("%d answers", len(m.Answers))
		}
		first[m.Answers[0].Body.(*dnsmessage.AResource).A] = true
	}
	if len(first) != 4 {
		t.Errorf("%d of 4 came first", len(first))
	}
}

// TestTruncated: what does not fit is said to be had by TCP, and is had there.
func TestTruncated(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		endpoint(t, dir, ep(i, fmt.Sprintf("10.9.0.%d/24", i+2), "", fmt.Sprint("w", i), "work"))
	}
	r, at := served(t, Config{Book: open(t, dir)})
	if m := exchangeRaw(t, at, query(t, "work.", dnsmessage.TypeA, 0)); !m.Truncated || len(m.Answers) != 0 {
		t.Errorf("without EDNS: truncated %v, %d answers", m.Truncated, len(m.Answers))
	}
	m := exchangeRaw(t, at, query(t, "work.", dnsmessage.TypeA, 4096))
	if m.Truncated || len(m.Answers) != 100 || len(m.Additionals) != 1 {
		t.Errorf("with EDNS: truncated %v, %d answers, %d additional", m.Truncated, len(m.Answers), len(m.Additionals))
	}
	if got := lookup(t, r, "ip4", "work."); len(got) != 100 {
		t.Errorf("a resolver found %d of 100", len(got))
	}
}

// TestFollows: names come and go with endpoints, also in a directory that is
// made later or again, with inotify and without.
func TestFollows(t *testing.T) {
	for _, kind := range []string{"inotify", "polling"} {
		t.Run(kind, func(t *testing.T) {
			top := t.TempDir() + "/networks"
			if err := os.MkdirAll(top, 0o700); err != nil {
				t.Fatal(err)
			}
			b := open(t)
			if b.watch.begun {
				t.Error("a book without directories watches")
			}
			if kind == "polling" {
				b.watch.begun = true
				go b.watch.poll()
			}
			if err := b.Set(top+"/a", top+"/b"); err != nil {
				t.Fatal(err)
			}
			soon := soon
			if kind == "inotify" {
				soon = atOnce
			}
			r, _ := served(t, Config{Book: b, Internal: inward})
			path := endpoint(t, top+"/a", ep(1, "10.9.0.2/24", "", "web"))
			soon(t, r, "web.", "10.9.0.2")
			endpoint(t, top+"/a", ep(1, "10.9.0.7/24", "", "web"))
			soon(t, r, "web.", "10.9.0.7")
			os.Remove(path)
			soon(t, r, "web.", "")
			os.Remove(top + "/a")
			endpoint(t, top+"/a", ep(2, "10.9.0.3/24", "", "web"))
			soon(t, r, "web.", "10.9.0.3")
			endpoint(t, top+"/b", ep(3, "10.8.0.3/24", "", "other"))
			soon(t, r, "other.", "10.8.0.3")
			if err := b.Set(top + "/a"); err != nil {
				t.Fatal(err)
			}
			soon(t, r, "other.", "")
			if got := b.Hosts(map[string]string{"alias": id(2)}); got != "10.9.0.3\tweb web.lake alias\n" {
				t.Errorf("hosts: %q", got)
			}
		})
	}
}

// atOnce asks once: what has changed before is known.
func atOnce(t *testing.T, r *net.Resolver, name, want string) {
	t.Helper()
	if got := strings.Join(lookup(t, r, "ip4", name), " "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// soon waits far longer than it should take: a slow machine is no failure.
func soon(t *testing.T, r *net.Resolver, name, want string) {
	t.Helper()
	var got string
	for range 500 {
		if got = strings.Join(lookup(t, r, "ip4", name), " "); got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: %q, want %q", name, got, want)
}

// query is a question as a message; size 0: without EDNS.
func query(t testing.TB, name string, kind dnsmessage.Type, size uint16) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	if size > 0 {
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(int(size), 0, false)
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: &dnsmessage.OPTResource{}})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func exchangeRaw(t *testing.T, at string, msg []byte) *dnsmessage.Message {
	t.Helper()
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(msg)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 64<<10)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dnsmessage.Message)
	if err := m.Unpack(buf[:n]); err != nil {
		t.Fatal(err)
	}
	if m.ID != 7 {
		t.Errorf("answer to question %d", m.ID)
	}
	return m
}

func TestGarbage(t *testing.T) {
	dir := t.TempDir()
	endpoint(t, dir, ep(1, "10.9.0.2/24", "", "web"))
	_, at := served(t, Config{Book: open(t, dir), Allow: func(a netip.Addr) bool { return a.IsLoopback() }})
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good := query(t, "web.", dnsmessage.TypeA, 0)
	for _, bad := range [][]byte{{}, {1}, good[:11], append([]byte{0, 7, 0x80, 0}, good[4:]...), make([]byte, 4000)} {
		c.Write(bad)
	}
	for what, want := range map[string]dnsmessage.RCode{
		string(good[:14]): dnsmessage.RCodeFormatError, // the question is cut
		string(append([]byte{0, 7, 0x28, 0}, good[4:]...)):                       dnsmessage.RCodeNotImplemented,
		string(append(append([]byte{}, good[:len(good)-1]...), 3)):               dnsmessage.RCodeRefused,
		string(append([]byte{0, 7, 1, 0, 0, 2}, good[6:]...)):                    dnsmessage.RCodeFormatError,
		string(append([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 9}, good[12:]...)): dnsmessage.RCodeFormatError,
	} {
		if m := exchangeRaw(t, at, []byte(what)); m.RCode != want {
			t.Errorf("%x: %v, want %v", what, m.RCode, want)
		}
	}
	if m := exchangeRaw(t, at, good); len(m.Answers) != 1 {
		t.Errorf("after all that: %+v", m)
	}
}

// TestRefused: who is not of the network gets no answer.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	endpoint(t, dir, ep(1, "10.9.0.2/24", "", "web"))
	_, at := served(t, Config{Book: open(t, dir), Allow: func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.9") }})
	ask := func(from string) error {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(query(t, "web.", dnsmessage.TypeA, 0))
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err = c.Read(make([]byte, 512))
		return err
	}
	if err := ask("127.0.0.1"); err == nil {
		t.Error("a stranger was answered")
	}
	var err error
	for range 10 {
		if err = ask("127.0.0.9"); err == nil {
			break
		}
	}
	if err != nil {
		t.Error("who may ask was not answered: ", err)
	}
}

func FuzzAnswer(f *testing.F) {
	dir := f.TempDir()
	endpoint(f, dir, ep(1, "10.9.0.2/24", "fd00:9::2/64", "web"))
	s := &Server{cfg: Config{Book: open(f, dir), Internal: inward}}
	f.Add(query(f, "web.", dnsmessage.TypeA, 0))
	f.Add(query(f, "web.", dnsmessage.TypeALL, 1232))
	f.Add(query(f, "2.0.9.10.in-addr.arpa.", dnsmessage.TypePTR, 0))
	f.Add(query(f, strings.Repeat("0.", 31)+"0.ip6.arpa.", dnsmessage.TypePTR, 0))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, r := s.answer(msg)
		if q == nil {
			return
		}
		out := r.pack(q, q.size)
		var p dnsmessage.Parser
		if h, err := p.Start(out); err != nil || !h.Response || h.ID != q.header.ID {
			t.Errorf("%x was answered by %x: %v", msg, out, err)
		}
		if len(out) > mostUDP {
			t.Errorf("%d bytes", len(out))
		}
		answers(msg, msg)
	})
}

// inward: the asker's networks lead nowhere.
func inward() bool { return true }
