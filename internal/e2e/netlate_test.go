package e2e

import (
	netpkg "net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"coracle/probe"
	"coracle/probe/probetest"

	"golang.org/x/net/dns/dnsmessage"
)

// wiringChurn: names follow who starts and stops. The name server's answer after a
// command has returned is never one from before it, however slow the machine; the
// hosts file follows soon (make bench says how soon).
func wiringChurn(t *testing.T, m *machine) {
	m.network("churn")
	m.run("watcher", []string{"--network", "churn"}, "box", "sleep", "600")
	var ask func() string
	if !m.shared() {
		probetest.Need(t, probe.NSNetSetns)
		ask = m.asker("watcher", "comes.")
	}
	check := func(when string, want bool) {
		t.Helper()
		at := ""
		if want {
			at = m.address("comes", "churn")
		}
		if ask != nil {
			if got := ask(); got != at {
				t.Errorf("after %s the name server says %q, want %q", when, got, at)
			}
		}
		until(t, "the hosts file to follow "+when, func() bool {
			return strings.Contains(m.ok("exec", "watcher", "cat", "/etc/hosts"), "\tcomes ") == want
		})
	}
	for range 3 {
		m.ok("run", "-d", "--name", "comes", "--network", "churn", "box", "sleep", "600")
		check("run", true)
		m.ok("stop", "-t", "0", "comes")
		check("stop", false)
		m.ok("start", "comes")
		check("start", true)
		m.ok("rename", "comes", "other")
		m.ok("rename", "other", "comes")
		check("rename", true)
		m.ok("network", "disconnect", "churn", "comes")
		check("disconnect", false)
		m.ok("network", "connect", "churn", "comes")
		check("connect", true)
		m.ok("rm", "-f", "comes")
		check("rm", false)
	}
}

// asker asks the name server of a container, without its hosts file, and returns the
// address, or "".
func (m *machine) asker(container, name string) func() string {
	m.t.Helper()
	pid, err := strconv.Atoi(m.ok("inspect", "-f", "{{.State.Pid}}", container))
	if err != nil {
		m.t.Fatal(err)
	}
	var c netpkg.Conn
	there(m.t, pid, func() error {
		c, err = netpkg.Dial("udp", "127.0.0.11:53")
		return err
	})
	m.t.Cleanup(func() { c.Close() })
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	return func() string {
		m.t.Helper()
		q.ID++
		msg, err := q.Pack()
		if err == nil {
			_, err = c.Write(msg)
		}
		if err != nil {
			m.t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		for buf := make([]byte, 1024); ; {
			n, err := c.Read(buf)
			if err != nil {
				m.t.Fatal(err)
			}
			var a dnsmessage.Message
			if err := a.Unpack(buf[:n]); err != nil {
				m.t.Fatal(err)
			}
			if a.ID != q.ID {
				continue
			}
			for _, r := range a.Answers {
				if b, ok := r.Body.(*dnsmessage.AResource); ok {
					return netip.AddrFrom4(b.A).String()
				}
			}
			return ""
		}
	}
}

// wiringLate: a container of the default network that comes to one of users' while
// it runs is known there and knows the others, by its hosts file and, as with
// Docker, by a name server that it keeps.
func wiringLate(t *testing.T, m *machine) {
	probetest.Need(t, probe.NSNetSetns)
	m.network("joined", "--internal")
	m.serve("there", "--network", "joined")
	m.run("late", []string{"--hostname", "latecomer.late.test", "--dns-search", "late.test"}, "box", "sleep", "600")
	resolv := func() string { return m.ok("exec", "late", "cat", "/etc/resolv.conf") }
	hosts := func() string { return m.ok("exec", "late", "cat", "/etc/hosts") }
	before := resolv()
	if strings.Contains(before, "127.0.0.11") {
		t.Errorf("resolv.conf on the default network:\n%s", before)
	}
	m.ok("network", "connect", "--alias", "newcomer", "joined", "late")
	at := m.address("late", "joined")
	if got := hosts(); !strings.Contains(got, "\n"+at+"\tlatecomer.late.test latecomer\n") || !strings.Contains(got, m.address("there", "joined")+"\tthere") {
		t.Errorf("/etc/hosts after it was connected:\n%s", got)
	}
	m.gets("late", "http://there/", "there")
	if got := m.ok("exec", "there", "cat", "/etc/hosts"); !strings.Contains(got, at+"\tlate newcomer") {
		t.Errorf("/etc/hosts of another:\n%s", got)
	}
	if !m.shared() {
		if got := resolv(); !strings.Contains(got, "nameserver 127.0.0.11\n") || !strings.Contains(got, "search late.test\n") || !strings.Contains(got, "ndots:0") {
			t.Errorf("resolv.conf after it was connected:\n%s", got)
		}
		if got := m.ok("exec", "late", "nslookup", "there"); !strings.Contains(got, m.address("there", "joined")) {
			t.Errorf("nslookup: %s", got)
		}
	}
	m.ok("network", "disconnect", "joined", "late")
	if got := hosts(); strings.Contains(got, "there") || strings.Contains(got, at) || strings.Count(got, "\tlatecomer.late.test latecomer") != 1 {
		t.Errorf("/etc/hosts after it was disconnected:\n%s", got)
	}
	if !m.shared() {
		m.fails(1, "", "exec", "late", "nslookup", "there")
		m.ok("network", "connect", "joined", "late")
		if got := m.ok("exec", "late", "nslookup", "there"); !strings.Contains(got, m.address("there", "joined")) {
			t.Errorf("nslookup when it is connected again: %s", got)
		}
		// Where no network leads out, nobody else is asked any more.
		m.ok("network", "disconnect", "bridge", "late")
		if r := m.try("exec", "late", "ping", "-c", "1", "elsewhere.test"); r.code == 0 || !strings.Contains(r.out+r.err, "bad address") {
			t.Errorf("a name of elsewhere, on an internal network alone: %+v", r)
		}
	}
	m.ok("restart", "-t", "0", "late")
}

// TestUnwired: who has the host's network, or none, is shown there while it runs.
func TestUnwired(t *testing.T) {
	m := newMachine(t, "", "", 0)
	for _, name := range []string{"host", "none"} {
		m.run("on-"+name, []string{"--network", name}, "box", "sleep", "600")
	}
	for _, name := range []string{"host", "none"} {
		show := []string{"network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", name}
		m.is("on-"+name, show...)
		m.ok("stop", "-t", "0", "on-"+name)
		m.is("", show...)
	}
}
