package names

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// upstream is a server of the host's: it answers A with addr by both ways,
// unless code says otherwise, after words of others that must not be believed.
func upstream(t *testing.T, addr string, code dnsmessage.RCode, quiet bool) netip.AddrPort {
	t.Helper()
	udp, tcp := bothWays(t)
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	answer := func(msg []byte, lie bool) []byte {
		var m dnsmessage.Message
		if m.Unpack(msg) != nil || code == dnsmessage.RCodeSuccess && addr == "" {
			return nil // one that never answers
		}
		m.Response, m.RCode = true, code
		m.Additionals = nil
		if lie {
			m.ID++
		}
		if code == dnsmessage.RCodeSuccess && m.Questions[0].Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()}}}
		}
		b, _ := m.Pack()
		return b
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if !quiet {
				udp.WriteTo(answer(buf[:n], true), from)
				udp.WriteTo(answer(buf[:n], false), from)
			}
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if msg, err := readTCP(c); err == nil {
					writeTCP(c, answer(msg, false))
				}
			}()
		}
	}()
	return udp.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestUpstream(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.LocalAddr().(*net.UDPAddr).AddrPort()
	l.Close()
	good := upstream(t, "192.0.2.1", dnsmessage.RCodeSuccess, false)
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		code    dnsmessage.RCode
		answers int
	}{
		"one":              {[]netip.AddrPort{good}, dnsmessage.RCodeSuccess, 1},
		"the next":         {[]netip.AddrPort{gone, good}, dnsmessage.RCodeSuccess, 1},
		"refused":          {[]netip.AddrPort{upstream(t, "", dnsmessage.RCodeRefused, false), good}, dnsmessage.RCodeSuccess, 1},
		"no such name":     {[]netip.AddrPort{upstream(t, "", dnsmessage.RCodeNameError, false), good}, dnsmessage.RCodeNameError, 0},
		"nobody":           {[]netip.AddrPort{gone}, dnsmessage.RCodeServerFailure, 0},
		"none":             {nil, dnsmessage.RCodeServerFailure, 0},
		"only TCP answers": {[]netip.AddrPort{upstream(t, "192.0.2.2", dnsmessage.RCodeSuccess, true)}, dnsmessage.RCodeSuccess, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, at := served(t, Config{Book: open(t, t.TempDir()), Upstream: c.servers})
			m := exchangeRaw(t, at, query(t, "example.com.", dnsmessage.TypeA, 1232))
			if m.RCode != c.code || len(m.Answers) != c.answers {
				t.Errorf("%v, %d answers; want %v, %d", m.RCode, len(m.Answers), c.code, c.answers)
			}
		})
	}
}

// TestUpstreamFlood: questions that nobody answers are bounded, and names of
// containers are answered beside them.
func TestUpstreamFlood(t *testing.T) {
	dir := t.TempDir()
	endpoint(t, dir, ep(1, "10.9.0.2/24", "", "web"))
	r, at := served(t, Config{Book: open(t, dir), Upstream: []netip.AddrPort{upstream(t, "", 0, true)}, Ndots: 1})
	c, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 2000 {
		c.Write(query(t, fmt.Sprintf("n%d.example.com.", i), dnsmessage.TypeA, 0))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got := lookup(t, r, "ip4", "web."); len(got) != 1 {
				t.Errorf("%v", got)
			}
			// With ndots above 0 a bare name that is nobody's stays here.
			if got := lookup(t, r, "ip4", "bare."); got != nil {
				t.Errorf("%v", got)
			}
		})
	}
	wg.Wait()
}

// BenchmarkThousand asks for one of a thousand names after the other, and reports the
// time below which 99 of 100 answers came.
func BenchmarkThousand(b *testing.B) {
	dir := b.TempDir()
	for i := range 1000 {
		endpoint(b, dir, ep(i, fmt.Sprintf("10.9.%d.%d/16", i/250, i%250+2), "", fmt.Sprint("name", i)))
	}
	_, at := served(b, Config{Book: open(b, dir)})
	c, err := net.Dial("udp", at)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 512)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		c.Write(query(b, fmt.Sprintf("name%d.", i%1000), dnsmessage.TypeA, 0))
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
