package e2e

import (
	"bytes"
	"fmt"
	"io"
	netpkg "net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coracle/net/listen"
	"coracle/probe"
	"coracle/probe/probetest"

	"golang.org/x/sys/unix"
)

// bridges are the rungs of wiring that give networks, each forced. The test runs
// in a network namespace of its own (TestMain), so they are the whole host's.
func bridges() []string {
	return []string{"bridge-nft", "bridge-iptables", "bridge-forward", "netstack"}
}

// TestWiring is the suite that every rung of wiring passes.
func TestWiring(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make bridges")
	}
	for _, rung := range bridges() {
		t.Run(rung, func(t *testing.T) {
			m := newMachine(t, "", "isolation=namespaces,wiring="+rung, 0)
			wiringSuite(t, m)
		})
	}
	for _, isolation := range []string{"chroot", "namespaces"} {
		t.Run("hostports, "+isolation, func(t *testing.T) {
			m := newMachine(t, "", "isolation="+isolation+",wiring=hostports", 0)
			wiringSuite(t, m)
			t.Run("one port, one service", func(t *testing.T) { wiringHostports(t, m.in(t)) })
		})
	}
	t.Run("netstack, an ordinary user", func(t *testing.T) {
		wiringSuite(t, newMachine(t, "", "isolation=userns,wiring=netstack", ordinary))
	})
}

// wiringHostports: the same by addresses of 127.0.0.0/8, where one port is one
// service's and nothing is kept apart.
func wiringHostports(t *testing.T, m *machine) {
	web := func(name, port string, flags ...string) {
		m.run(name, append(flags, "--network", "front", "--expose", port), "box", "sh", "-c",
			"mkdir /w; echo "+name+" > /w/index.html; exec httpd -f -p "+port+" -h /w")
	}
	if r := m.try("network", "create", "front"); r.code != 0 || !strings.Contains(r.err, "isolation from other networks") {
		t.Errorf("create: %+v", r)
	}
	m.fails(1, "isolation from other networks", "--strict", "network", "create", "strict")
	t.Cleanup(func() { m.ok("network", "prune", "-f") })
	web("web1", "18701", "--network-alias", "www", "-p", "18780:18701", "-p", "18790-18791:18701")
	web("web2", "18702")
	m.run("client", []string{"--network", "front"}, "box", "sleep", "600")
	if r := m.try("--strict", "run", "--rm", "--network", "front", "box", "true"); r.code != 0 || r.err != "" {
		t.Errorf("a run on a network that was made: %+v", r)
	}
	m.gets("client", "http://web1:18701/", "web1")
	m.gets("client", "http://www:18701/", "web1")
	m.gets("client", "http://web2:18702/", "web2")
	addr := m.address("web1", "front")
	if !strings.HasPrefix(addr, "127.") {
		t.Errorf("address %s", addr)
	}
	if hosts := m.ok("exec", "client", "cat", "/etc/hosts"); !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(addr) + `\s.*\bweb1\b`).MatchString(hosts) {
		t.Errorf("/etc/hosts has no web1:\n%s", hosts)
	}
	fetch(t, "127.0.0.1:18780", "web1")
	fetch(t, "127.0.0.1:18790", "web1")
	m.fails(125, "port is already allocated", "run", "--rm", "-p", "18780:80", "box", "true")
	// Two that would listen on one port are told before they start.
	r := m.try("run", "--rm", "--network", "front", "--expose", "18701", "box", "true")
	if r.code != 125 || !strings.Contains(r.err, "18701") || !strings.Contains(r.err, "web1") {
		t.Errorf("a port that another has: %+v", r)
	}
	// What cannot be kept is said, and refused where that is asked.
	m.network("closed", "--internal")
	if r := m.try("run", "--rm", "--network", "closed", "box", "true"); r.code != 0 || !strings.Contains(r.err, "--internal") {
		t.Errorf("internal: %+v", r)
	}
	m.fails(125, "--internal", "--strict", "run", "--rm", "--network", "closed", "box", "true")
	if strings.Contains(m.backend, "namespaces") {
		other := m.in(t)
		other.backend = "wiring=netstack"
		other.network("apart")
		if r := m.try("run", "--rm", "--network", "apart", "box", "true"); r.code != 0 || !strings.Contains(r.err, "isolation from other networks") {
			t.Errorf("a network that was made on a rung that keeps it apart: %+v", r)
		}
	}
	// Names follow a container that is connected while it runs.
	m.network("back")
	m.run("late", []string{"--network", "back"}, "box", "sleep", "600")
	m.ok("network", "connect", "front", "late")
	m.gets("late", "http://web1:18701/", "web1")
	m.ok("network", "disconnect", "front", "late")
	until(t, "the name to go", func() bool { return !strings.Contains(m.ok("exec", "late", "cat", "/etc/hosts"), "web1") })
	// A killed monitor leaves nothing that keeps another from the port.
	if err := unix.Kill(parent(t, m.ok("inspect", "-f", "{{.State.Pid}}", "web1")), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of web1", func() bool { return m.ok("ps", "-q", "--filter", "name=web1") == "" })
	m.ok("rm", "-f", "web1")
	web("web3", "18701", "-p", "18780:18701")
	m.gets("client", "http://web3:18701/", "web3")
	fetch(t, "127.0.0.1:18780", "web3")
}

// wiringSuite is what networks do.
func wiringSuite(t *testing.T, m *machine) {
	before, _ := ours()
	t.Cleanup(func() {
		m.ok("network", "prune", "-f")
		noRemains(t, before)
	})
	// Where all containers have the host's network, nothing is kept apart, there are no
	// interfaces of theirs, and there
	// is no IPv6: that is said, and tested (wiringHostports).
	apart := map[string]bool{"isolation": true, "ipv6": true, "spoof": true, "flags": true}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *machine)
	}{
		{"names", wiringNames}, {"isolation", wiringIsolation}, {"ports", wiringPorts}, {"ranges", wiringRanges},
		{"live", wiringLive}, {"late", wiringLate}, {"churn", wiringChurn}, {"ipv6", wiringIPv6}, {"spoof", wiringSpoof},
		{"way out", wiringOut}, {"killed", wiringKilled}, {"crowd", wiringCrowd}, {"links", wiringLinks}, {"flags", wiringFlags}, {"bad input", wiringBadInput},
	} {
		if m.shared() && apart[c.name] {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, m.in(t)) })
	}
}

// onHost tells whether the host has the gateway's address of a network.
func onHost(gateway string) bool {
	l, err := netpkg.Listen("tcp", gateway+":0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

// in is the same machine for a test below.
func (m *machine) in(t *testing.T) *machine {
	copied := *m
	copied.t = t
	return &copied
}

// shared: containers have the host's network, and one of its ports is one service's.
func (m *machine) shared() bool { return strings.Contains(m.backend, "wiring=hostports") }

// next is the last port that was given out by eighty.
var next atomic.Int32

// eighty is the port at which a service is to listen that others find at port 80,
// and the flags for that.
func (m *machine) eighty() (string, []string) {
	if !m.shared() {
		return "80", nil
	}
	port := strconv.Itoa(20000 + int(next.Add(1)))
	return port, []string{"--expose", "80:" + port}
}

// serve starts a container that answers HTTP with its name, and removes it at the
// end.
func (m *machine) serve(name string, flags ...string) {
	m.t.Helper()
	port, more := m.eighty()
	m.run(name, append(flags, more...), "box", "sh", "-c", "mkdir /w; echo "+name+" > /w/index.html; httpd -f -p "+port+" -h /w")
}

func (m *machine) run(name string, flags []string, command ...string) {
	m.t.Helper()
	m.ok(append(append([]string{"run", "-d", "--name", name}, flags...), command...)...)
	m.t.Cleanup(func() { m.try("rm", "-f", name) })
}

func (m *machine) network(name string, flags ...string) {
	m.t.Helper()
	m.ok(append(append([]string{"network", "create"}, flags...), name)...)
	m.t.Cleanup(func() { m.try("network", "rm", name) })
}

// gets waits until a container gets want from a URL.
func (m *machine) gets(container, url, want string) {
	m.t.Helper()
	var last result
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = m.try("exec", container, "wget", "-q", "-T", "3", "-O", "-", url); strings.TrimSpace(last.out) == want {
			return
		}
	}
	m.t.Errorf("%s from %s: %q, %q, want %q", url, container, last.out, last.err, want)
}

func (m *machine) getsNot(container, url string) {
	m.t.Helper()
	if r := m.try("exec", container, "wget", "-q", "-T", "1", "-O", "-", url); r.code == 0 {
		m.t.Errorf("%s from %s: %q, want nothing", url, container, r.out)
	}
}

// fetch waits until the host gets want at a port.
func fetch(t *testing.T, addr, want string) {
	t.Helper()
	var got string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = get(addr); strings.HasSuffix(strings.TrimSpace(got), want) {
			return
		}
	}
	t.Errorf("http://%s: %q, want %q", addr, got, want)
}

func get(addr string) string {
	c, err := netpkg.DialTimeout("tcp", addr, 3*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
	data, _ := io.ReadAll(c)
	return string(data)
}

func (m *machine) address(name, network string) string {
	m.t.Helper()
	return m.ok("inspect", "-f", `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`, name)
}

func wiringNames(t *testing.T, m *machine) {
	m.network("front")
	m.serve("web1", "--network", "front", "--network-alias", "www")
	m.serve("web2", "--network", "front", "--network-alias", "www")
	m.run("client", []string{"--network", "front"}, "box", "sleep", "600")
	m.gets("client", "http://web1/", "web1")
	m.gets("client", "http://WEB2/", "web2")
	if got := m.ok("exec", "client", "ping", "-c", "1", "web1"); !strings.Contains(got, m.address("web1", "front")) {
		t.Errorf("ping: %s", got)
	}
	seen := map[string]bool{}
	for range 40 {
		seen[strings.TrimSpace(m.try("exec", "client", "wget", "-q", "-O", "-", "http://www/").out)] = true
	}
	// Without a name server the first line of /etc/hosts answers.
	if !m.shared() && (!seen["web1"] || !seen["web2"]) || len(seen) == 0 || seen[""] {
		t.Errorf("alias www led to %v", seen)
	}
	hosts := m.ok("exec", "client", "cat", "/etc/hosts")
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(m.address("web1", "front")) + `\s.*\bweb1\b`).MatchString(hosts) {
		t.Errorf("/etc/hosts has no web1:\n%s", hosts)
	}
	if got := m.ok("network", "inspect", "-f", "{{len .Containers}}", "front"); got != "3" {
		t.Errorf("%s containers on the network", got)
	}
	m.fails(1, "active endpoints", "network", "rm", "front")
	if !m.shared() {
		wiringOwnServer(t, m)
	}
}

// wiringOwnServer: a name server of the container's own may listen on port 53 of all
// addresses, as with Docker, and ours answers beside it.
func wiringOwnServer(t *testing.T, m *machine) {
	if m.uid == 0 {
		probetest.Need(t, probe.NFTables)
	}
	m.run("server", []string{"--network", "front"}, "box", "sh", "-c", "mkdir /w; echo own > /w/index.html; nc -u -l -p 53 & exec httpd -f -p 53 -h /w")
	m.gets("client", "http://server:53/", "own")
	m.gets("server", "http://web1/", "web1")
	until(t, "what was sent by UDP", func() bool {
		m.ok("exec", "client", "sh", "-c", "echo question | nc -u -w 1 server 53")
		return strings.Contains(m.ok("logs", "server"), "question")
	})
	if got := m.ok("exec", "server", "sh", "-c", "nslookup web1"); !strings.Contains(got, m.address("web1", "front")) {
		t.Errorf("nslookup beside another server: %s", got)
	}
}

func wiringIsolation(t *testing.T, m *machine) {
	m.network("one")
	m.network("two")
	m.network("closed", "--internal")
	m.serve("s1", "--network", "one", "-p", "18081:80")
	m.serve("s2", "--network", "two")
	m.serve("s3", "--network", "one", "--network", "two")
	m.serve("s4", "--network", "closed")
	m.run("c4", []string{"--network", "closed"}, "box", "sleep", "600")
	m.gets("s3", "http://s1/", "s1")
	m.gets("s3", "http://s2/", "s2")
	m.gets("s1", "http://s3/", "s3")
	m.gets("c4", "http://s4/", "s4")
	m.getsNot("s1", "http://"+m.address("s2", "two")+"/")
	m.getsNot("s2", "http://"+m.address("s1", "one")+"/")
	m.getsNot("s2", "http://s1/")
	m.getsNot("s1", "http://"+m.address("s4", "closed")+"/")
	m.getsNot("s4", "http://"+m.address("s1", "one")+"/")
	if out := m.ok("exec", "c4", "cat", "/proc/net/route"); strings.Contains(out, "\t00000000\t") && strings.Count(out, "\n") > 2 {
		t.Errorf("an internal network has a default route:\n%s", out)
	}
}

func wiringPorts(t *testing.T, m *machine) {
	m.network("pub")
	m.serve("p1", "--network", "pub", "-p", "18080:80", "-p", "127.0.0.1:18090:80", "-p", "80")
	fetch(t, "127.0.0.1:18080", "p1")
	fetch(t, "[::1]:18080", "p1")
	fetch(t, "127.0.0.1:18090", "p1")
	lines := m.ok("port", "p1", "80")
	chosen := regexp.MustCompile(`0\.0\.0\.0:(\d+)`).FindAllStringSubmatch(lines, -1)
	if len(chosen) != 2 {
		t.Fatalf("port: %s", lines)
	}
	for _, c := range chosen {
		fetch(t, "127.0.0.1:"+c[1], "p1")
	}
	// By an address of the host that is not loopback, from the host and from
	// the container itself.
	gateway := m.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "pub")
	if onHost(gateway) {
		fetch(t, gateway+":18080", "p1")
		m.gets("p1", "http://"+gateway+":18080/", "p1")
	}
	if got := m.ok("ps", "--format", "{{.Ports}}", "--filter", "name=p1"); !strings.Contains(got, "0.0.0.0:18080->80/tcp") {
		t.Errorf("ps: %s", got)
	}
	_, more := m.eighty()
	m.fails(125, "port is already allocated", append(append([]string{"run", "--rm", "-p", "18080:80"}, more...), "box", "true")...)
	m.ok("rm", "-f", "p1")
	if got := get("127.0.0.1:18080"); !strings.Contains(got, "refused") {
		t.Errorf("the port of a removed container: %q", got)
	}
	m.run("u1", []string{"--network", "pub", "-p", "18053:5353/udp"}, "box", "nc", "-u", "-l", "-p", "5353")
	c, err := netpkg.Dial("udp", "127.0.0.1:18053")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	until(t, "what was sent by UDP", func() bool {
		c.Write([]byte("hello\n"))
		return strings.Contains(m.ok("logs", "u1"), "hello")
	})
}

func wiringRanges(t *testing.T, m *machine) {
	m.serve("r1", "-p", "18100-18199:100-199", "-p", "18200-18209:80")
	out := m.ok("port", "r1", "199")
	if !strings.Contains(out, "0.0.0.0:18199") {
		t.Errorf("port 199: %s", out)
	}
	fetch(t, "127.0.0.1:18200", "r1")
	m.serve("r2", "-p", "18200-18209:80")
	fetch(t, "127.0.0.1:18201", "r2")
	// Port 0 is a port as with Docker, at which nobody listens.
	m.run("r0", []string{"-p", "18210:0", "--expose", "0/udp", "-P"}, "box", "sleep", "600")
	if got := m.ok("port", "r0", "0"); !strings.Contains(got, "0.0.0.0:18210") {
		t.Errorf("port 0: %s", got)
	}
	if got := m.ok("port", "r0", "0/udp"); strings.Contains(got, ":0\n") || !strings.Contains(got, "0.0.0.0:") {
		t.Errorf("port 0/udp: %s", got)
	}
	m.ok("rm", "-f", "r0", "r1", "r2")
	// One range of a thousand that is shifted.
	gateway := m.ok("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")
	m.serve("r3", "-p", "19000-19999:1-1000")
	if onHost(gateway) {
		fetch(t, gateway+":19079", "r3")
	}
	fetch(t, "127.0.0.1:19079", "r3")
}

func wiringLive(t *testing.T, m *machine) {
	m.network("east")
	m.network("west", "--subnet", "10.213.0.0/24", "--gateway", "10.213.0.9", "--aux-address", "x=10.213.0.1")
	m.serve("e1", "--network", "east")
	m.serve("w1", "--network", "west", "-p", "18300:80")
	if got := m.address("w1", "west"); got != "10.213.0.2" && !m.shared() {
		t.Errorf("first address %s: .1 is another's, .9 the gateway's", got)
	}
	m.getsNot("e1", "http://w1/")
	if !m.shared() { // what has the host's network is connected without entering it
		if !probetest.Report(t, m.dir).Has(probe.NSNetSetns) {
			m.fails(1, "this kernel cannot (setns", "network", "connect", "west", "e1")
		}
		probetest.Need(t, probe.NSNetSetns) // to connect a container that runs
	}
	m.ok("network", "connect", "--alias", "eastern", "--ip", "10.213.0.77", "west", "e1")
	m.gets("e1", "http://w1/", "w1")
	m.gets("w1", "http://eastern/", "e1")
	if got := m.address("e1", "west"); got != "10.213.0.77" && !m.shared() {
		t.Errorf("address %s", got)
	}
	m.fails(1, "already exists in network", "network", "connect", "west", "e1")
	m.fails(1, "no configured subnet contains", "network", "connect", "--ip", "10.9.0.1", "west", "e1")
	// A name that changes is known by the others.
	m.ok("rename", "w1", "w9")
	m.gets("e1", "http://w9/", "w1")
	m.ok("rename", "w9", "w1")
	m.gets("e1", "http://w1/", "w1")
	// A stop and a start keep what was connected.
	m.ok("stop", "-t", "1", "e1")
	m.ok("start", "e1")
	m.gets("w1", "http://eastern/", "e1")
	m.ok("network", "disconnect", "west", "e1")
	m.getsNot("e1", "http://w1/")
	if !m.shared() {
		m.getsNot("e1", "http://10.213.0.2/")
	}
	m.fails(1, "is not connected", "network", "disconnect", "west", "e1")
	// Published ports follow to another network.
	m.ok("network", "connect", "east", "w1")
	m.ok("network", "disconnect", "west", "w1")
	fetch(t, "127.0.0.1:18300", "w1")
	m.gets("e1", "http://w1/", "w1")
	wiringNowhere(t, m)
	// One that is just ending is connected for its next run.
	for i := range 20 {
		m.run("brief", []string{"--network", "east"}, "box", "sleep", fmt.Sprintf("0.0%02d", 2*i))
		m.ok("network", "connect", "west", "brief")
		m.ok("network", "disconnect", "east", "brief")
		m.is("[west]", "inspect", "-f", "[{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}]", "brief")
		m.ok("rm", "-f", "brief")
	}
}

// wiringNowhere: w1 is taken from its last network, and has no published ports then:
// others may have them. On the next network it has them again.
func wiringNowhere(t *testing.T, m *machine) {
	const at = "127.0.0.1:18300"
	portless := func() {
		t.Helper()
		m.is("map[] map[]", "inspect", "-f", "{{.NetworkSettings.Networks}} {{.NetworkSettings.Ports}}", "w1")
		m.is("", "port", "w1")
		m.is("", "ps", "--filter", "name=w1", "--format", "{{.Ports}}")
	}
	m.ok("network", "disconnect", "east", "w1")
	portless()
	other, err := netpkg.Listen("tcp", at)
	if err != nil {
		t.Fatal("the port is not free: ", err)
	}
	defer other.Close()
	m.fails(1, "port is already allocated", "network", "connect", "west", "w1")
	portless()
	other.Close()
	m.ok("network", "connect", "west", "w1")
	fetch(t, at, "w1")
	if got := m.ok("ps", "--filter", "name=w1", "--format", "{{.Ports}}"); !strings.Contains(got, ":18300->") {
		t.Errorf("ps: %s", got)
	}
	// The same for one that is started on none.
	m.ok("network", "disconnect", "west", "w1")
	m.ok("restart", "-t", "1", "w1")
	portless()
	m.ok("network", "connect", "east", "w1")
	fetch(t, at, "w1")
	m.gets("e1", "http://w1/", "w1")
	// A network that leads nowhere publishes nothing.
	if m.shared() {
		return
	}
	m.network("inner", "--internal")
	m.ok("network", "connect", "inner", "w1")
	fetch(t, at, "w1")
	m.ok("network", "disconnect", "east", "w1")
	if got := m.ok("port", "w1"); got != "" {
		t.Errorf("on an internal network: %s", got)
	}
	m.ok("network", "connect", "east", "w1")
	fetch(t, at, "w1")
}

func wiringIPv6(t *testing.T, m *machine) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("needs IPv6 in the kernel")
	}
	m.network("six", "--ipv6", "--subnet", "fd00:77::/64")
	m.serve("v6", "--network", "six", "-p", "18400:80")
	m.run("c6", []string{"--network", "six", "--ip6", "fd00:77::42"}, "box", "sleep", "600")
	if got := m.ok("exec", "c6", "ip", "addr"); !strings.Contains(got, "fd00:77::42/64") {
		t.Errorf("addresses: %s", got)
	}
	addr := m.ok("inspect", "-f", `{{(index .NetworkSettings.Networks "six").GlobalIPv6Address}}`, "v6")
	m.gets("c6", "http://["+addr+"]/", "v6")
	fetch(t, "[::1]:18400", "v6")
	fetch(t, "127.0.0.1:18400", "v6")
}

// wiringSpoof: a container that takes the address of another is not heard.
func wiringSpoof(t *testing.T, m *machine) {
	m.network("held", "--subnet", "10.214.0.0/24")
	m.serve("victim", "--network", "held", "--ip", "10.214.0.10")
	m.run("asker", []string{"--network", "held"}, "box", "sleep", "600")
	m.run("thief", []string{"--network", "held", "--cap-add", "NET_ADMIN"}, "box", "sleep", "600")
	m.gets("thief", "http://victim/", "victim")
	probetest.Need(t, probe.NSNetSetns) // for nsenter
	pid := m.ok("inspect", "-f", "{{.State.Pid}}", "thief")
	if out, err := exec.Command("nsenter", "-t", pid, "-n", "ip", "addr", "replace", "10.214.0.99/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Skipf("needs nsenter and ip: %v %s", err, out)
	}
	if out, err := exec.Command("nsenter", "-t", pid, "-n", "ping", "-c", "1", "-W", "1", "-I", "10.214.0.99", "10.214.0.10").CombinedOutput(); err == nil {
		t.Errorf("heard under an address that is not its own: %s", out)
	}
	m.gets("asker", "http://victim/", "victim")
}

// wiringKilled kills monitors; the next command cleans up after them.
func wiringKilled(t *testing.T, m *machine) {
	m.network("kill")
	for i := range 3 {
		name := "k" + strconv.Itoa(i)
		m.serve(name, "--network", "kill", "-p", strconv.Itoa(18500+i)+":80")
		monitor := parent(t, m.ok("inspect", "-f", "{{.State.Pid}}", name))
		if err := unix.Kill(monitor, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the end of the containers", func() bool { return m.ok("ps", "-q") == "" })
	m.ok("run", "--rm", "--network", "kill", "-p", "18500:80", "box", "true")
	if got := m.ok("network", "inspect", "-f", "{{len .Containers}}", "kill"); got != "0" {
		t.Errorf("%s containers are on the network", got)
	}
	if got := rules(); strings.Contains(got, "coracle-c-") || strings.Contains(got, "CORACLE-C-") {
		t.Errorf("rules are left:\n%s", got)
	}
	m.ok("rm", "-f", "k0", "k1", "k2")
	m.ok("network", "rm", "kill")
}

func parent(t *testing.T, pid string) int {
	t.Helper()
	n, err := ppid(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ppid(pid string) (int, error) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	// Field 4, the second after the name (proc(5)).
	return strconv.Atoi(strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))[1])
}

// wiringCrowd starts and removes many on one network.
func wiringCrowd(t *testing.T, m *machine) {
	const many = 20
	m.network("crowd")
	var wg sync.WaitGroup
	queue := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range queue {
				_, more := m.eighty()
				run := append([]string{"run", "-d", "--name", fmt.Sprintf("crowd%d", i), "--network", "crowd", "-p", "80"}, more...)
				m.try(append(run, "box", "sleep", "600")...)
			}
		})
	}
	for i := range many {
		queue <- i
	}
	close(queue)
	wg.Wait()
	ids := strings.Fields(m.ok("ps", "-q", "--filter", "network=crowd"))
	if len(ids) != many {
		t.Errorf("%d of %d run", len(ids), many)
	}
	seen := map[string]bool{}
	for _, a := range strings.Fields(m.ok("network", "inspect", "-f", "{{range .Containers}}{{.IPv4Address}} {{end}}", "crowd")) {
		if seen[a] {
			t.Errorf("two have %s", a)
		}
		seen[a] = true
	}
	m.ok(append([]string{"rm", "-f"}, ids...)...)
	m.ok("network", "rm", "crowd")
}

func wiringLinks(t *testing.T, m *machine) {
	m.serve("db", "--expose", "80", "-e", "SECRET=x")
	out := m.ok("run", "--rm", "--link", "db:database", "box", "sh", "-c", "env; cat /etc/hosts; n=0; until wget -q -O - http://database/; do n=$((n+1)); test $n -lt 100 || exit 1; sleep 0.1; done")
	addr := m.address("db", "bridge")
	for _, want := range []string{"DATABASE_PORT_80_TCP_ADDR=" + addr, "DATABASE_PORT=tcp://" + addr + ":80", "DATABASE_ENV_SECRET=x", addr + "\tdatabase", "\ndb"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	// On a network of users' a link is another name for whoever has the name by then.
	m.network("linked")
	m.run("linker", []string{"--network", "linked", "--link", "target:goal"}, "box", "sleep", "600")
	for range 2 {
		m.serve("target", "--network", "linked")
		m.gets("linker", "http://goal/", "target")
		m.ok("rm", "-f", "target")
		if got := m.ok("exec", "linker", "cat", "/etc/hosts"); strings.Contains(got, "goal") {
			t.Errorf("a link to a container that is gone:\n%s", got)
		}
	}
	m.ok("stop", "-t", "1", "db")
	m.fails(125, "Cannot link to a non running container", "run", "--rm", "--link", "db", "box", "true")
}

func wiringBadInput(_ *testing.T, m *machine) {
	m.network("taken", "--subnet", "10.215.0.0/24")
	m.run("t1", []string{"--network", "taken", "--ip", "10.215.0.5"}, "box", "sleep", "600")
	long := strings.Repeat("n", 300)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, "already exists", []string{"network", "create", "taken"}},
		{1, "Pool overlaps", []string{"network", "create", "--subnet", "10.215.0.128/25", "over"}},
		{1, "invalid subnet", []string{"network", "create", "--subnet", "10.216.0.1/24", "host-bits"}},
		{1, "bridge driver doesn't support multiple subnets", []string{"network", "create", "--subnet", "10.217.0.0/24", "--subnet", "10.218.0.0/24", "two"}},
		{1, "failed to allocate gateway (10.217.0.0): Address already in use", []string{"network", "create", "--subnet", "10.217.0.0/24", "--gateway", "10.217.0.0", "n"}},
		{1, "CIDR", []string{"network", "create", "--subnet", "nonsense", "n"}},
		{1, "300 characters", []string{"network", "create", long}},
		{1, "predefined", []string{"network", "create", "host"}},
		{1, "not found", []string{"network", "rm", "nosuch"}},
		{1, "pre-defined", []string{"network", "rm", "bridge"}},
		{1, "active endpoints", []string{"network", "rm", "taken"}},
		{1, "not supported", []string{"network", "create", "-d", "overlay", "o"}},
		{1, "plugin", []string{"network", "create", "-d", "weave", "o"}},
		{125, "network nosuch not found", []string{"run", "--rm", "--network", "nosuch", "box", "true"}},
		{125, "Address already in use", []string{"run", "--rm", "--network", "taken", "--ip", "10.215.0.5", "box", "true"}},
		{125, "no configured subnet", []string{"run", "--rm", "--network", "taken", "--ip", "10.9.9.9", "box", "true"}},
		{125, "invalid endpoint settings: user-specified IP address is supported on user defined networks only", []string{"run", "--rm", "--ip", "10.9.9.9", "box", "true"}},
		{125, "only supported for user-defined networks", []string{"run", "--rm", "--network-alias", "a", "box", "true"}},
		{125, "invalid containerPort", []string{"run", "--rm", "-p", "80:http", "box", "true"}},
		{125, "invalid hostPort", []string{"run", "--rm", "-p", "99999:80", "box", "true"}},
		{125, "invalid ranges", []string{"run", "--rm", "-p", "1-3:1-2", "box", "true"}},
		{125, "invalid proto", []string{"run", "--rm", "-p", "80:80/icmp", "box", "true"}},
		{125, "invalid IP address", []string{"run", "--rm", "-p", "1.2.3:80:80", "box", "true"}},
		{125, "mac address", []string{"run", "--rm", "--mac-address", "zz", "box", "true"}},
		{125, "conflicting options", []string{"run", "--rm", "--network", "host", "--network", "taken", "box", "true"}},
	} {
		if m.shared() && c.want == "Address already in use" {
			continue // nobody has an address of a network's subnet
		}
		m.fails(c.code, c.want, c.args...)
	}
	if m.shared() {
		m.fails(125, "--ip 10.215.0.6: containers have one address", "--strict", "run", "--rm", "--network", "taken", "--ip", "10.215.0.6", "box", "true")
	}
}

// rules are what the packet filter has, as far as a program shows it.
func rules() string {
	var all []byte
	for _, args := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}, {"ip6tables-save"}} {
		out, _ := exec.Command(args[0], args[1:]...).Output()
		all = append(all, out...)
	}
	return string(all)
}

// ours counts the bridges, and names the ends of containers, that there are.
func ours() (bridges int, ends string) {
	links, _ := netpkg.Interfaces()
	for _, l := range links {
		switch {
		case strings.HasPrefix(l.Name, "cv-"):
			ends += " " + l.Name
		case strings.HasPrefix(l.Name, "cr-"):
			bridges++
		}
	}
	return bridges, ends
}

// noRemains: nothing of ours is left but the default bridge, which stays like
// its network, and the bridges that there were before. The kernel takes down what a
// namespace held in its own time.
func noRemains(t *testing.T, before int) {
	t.Helper()
	left := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var bridges int
		if bridges, left = ours(); bridges > before+1 {
			left += fmt.Sprintf(" %d bridges", bridges)
		}
		if left == "" {
			break
		}
	}
	if got := rules(); strings.Contains(got, "coracle-c-") || strings.Contains(got, "CORACLE-C-") {
		left += " rules of a container"
	}
	for at := range listen.Look("/proc/self") {
		if at.Port >= 18000 && at.Port < 22000 {
			left += fmt.Sprintf(" port %d/%s", at.Port, at.Proto)
		}
	}
	if left != "" {
		t.Errorf("left on the host:%s", left)
	}
}
