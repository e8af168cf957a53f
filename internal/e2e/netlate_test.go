package e2e

import (
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

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
