package e2e

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"coracle/internal/sys"
	"coracle/probe"
	"coracle/probe/probetest"
)

// TestPipework gives containers an interface as pipework does: the network namespace
// of the container's process gets a name in /var/run/netns, and a pair of
// interfaces is moved into it, one end on a bridge of the host's.
func TestPipework(t *testing.T) {
	needRoot(t)
	probetest.Need(t, probe.NSNetSetns)
	for _, rung := range []string{"bridge-nft", "netstack", "none"} {
		t.Run(rung, func(t *testing.T) {
			backend, flags := "isolation=namespaces,wiring="+rung, []string{}
			if rung == "none" {
				backend, flags = "isolation=namespaces", []string{"--network", "none"}
			}
			m := newMachine(t, "", backend, 0)
			shell(t, "ip link add pipe0 type bridge; ip addr add 10.210.0.1/24 dev pipe0; ip link set pipe0 up")
			t.Cleanup(func() { exec.Command("ip", "link", "del", "pipe0").Run() })
			for i, name := range []string{"one", "two"} {
				m.run(name, flags, "box", "sh", "-c", "mkdir /w; echo "+name+" > /w/index.html; exec httpd -f -p 80 -h /w")
				pid := m.ok("inspect", "--format={{ .State.Pid }}", name)
				host := string(rune('2' + i))
				// In a mount namespace of its own, so that the machine's /var/run
				// stays as it is.
				out, err := exec.Command("unshare", "-m", "sh", "-ec", `
PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs none /run; mkdir -p /var/run/netns
ln -s /proc/`+pid+`/ns/net /var/run/netns/`+pid+`
ip link add name pl`+host+` mtu 1500 type veth peer name pg`+host+` mtu 1500
ip link set pl`+host+` master pipe0
ip link set pl`+host+` up
ip link set pg`+host+` netns `+pid+`
ip netns exec `+pid+` ip link set pg`+host+` name eth1
ip netns exec `+pid+` ip addr add 10.210.0.`+host+`/24 dev eth1
ip netns exec `+pid+` ip link set eth1 up
ip netns exec `+pid+` ip route replace 10.209.0.0/24 via 10.210.0.1`).CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			m.gets("one", "http://10.210.0.3/", "two")
			m.gets("two", "http://10.210.0.2/", "one")
			fetch(t, "10.210.0.2:80", "one")
			if got := m.ok("exec", "one", "cat", "/sys/class/net/eth1/mtu"); got != "1500" {
				t.Errorf("mtu %s", got)
			}
			m.ok("rm", "-f", "one", "two")
			until(t, "the interfaces to go", func() bool { return !strings.Contains(shell(t, "ip -o link"), "pl2") })
		})
	}
}

// TestHundred: a hundred containers on one network, started and removed, leave the
// host as it was.
func TestHundred(t *testing.T) {
	needRoot(t)
	// The program takes its time.
	for rung, count := range map[string]int{"bridge-nft": 100, "bridge-iptables": 12} {
		t.Run(rung, func(t *testing.T) {
			m := newMachine(t, "", "isolation=namespaces,wiring="+rung, 0)
			state := func() string {
				// Without what counts, or tells whether anybody is there just now.
				return shell(t, `{ ip -o addr; ip -o route; ip -o -6 route; ip -o link; nft list ruleset; iptables-save; ip6tables-save; grep `+m.dir+` /proc/mounts; ls -R `+m.dir+`/run/containers `+m.dir+`/run/networks; } 2>/dev/null |
sed -E 's/\[[0-9:]+\]//; /^#/d; s/valid_lft.*//; s/ linkdown//; s/<[^>]*>//; s/state [A-Z]+//' || true`)
			}
			earlier := ends(t)
			start := func(count int) {
				m.network("hundred")
				var wg sync.WaitGroup
				queue := make(chan string)
				for range 4 {
					wg.Go(func() {
						for name := range queue {
							m.try("run", "-d", "--name", name, "--network", "hundred", "-p", "80", "box", "sleep", "600")
						}
					})
				}
				for i := range count {
					queue <- "h" + string(rune('a'+i/26)) + string(rune('a'+i%26))
				}
				close(queue)
				wg.Wait()
				ids := strings.Fields(m.ok("ps", "-q", "--filter", "network=hundred"))
				if len(ids) != count {
					t.Errorf("%d of %d run", len(ids), count)
				}
				m.ok(append([]string{"rm", "-f"}, ids...)...)
				m.ok("network", "rm", "hundred")
			}
			// What stays by design, the default network and the empty tables of
			// iptables, is there after the first.
			m.ok("run", "--rm", "-p", "80", "box", "true")
			start(1)
			onlyEnds(t, earlier)
			before := state()
			start(count)
			onlyEnds(t, earlier)
			if after := state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestConnectedToTheEnd: containers that are removed with a connection between them leave
// no interface, though the last one's farewell has nobody to go to. The kernel alone
// would try that for 100 s.
func TestConnectedToTheEnd(t *testing.T) {
	needRoot(t)
	if v := sys.KernelVersion(); v[0] < 4 || v[0] == 4 && v[1] < 6 {
		t.Skip("missing feature: tcp_orphan_retries of a network namespace (Linux 4.6)")
	}
	probetest.Need(t, probe.NSNetSetns)
	m := newMachine(t, "", "isolation=namespaces,wiring=bridge-nft", 0)
	m.network("talk")
	earlier := ends(t)
	m.run("first", []string{"--network", "talk"}, "box", "sh", "-c", "sleep 1000 | nc -l -p 99")
	m.run("last", []string{"--network", "talk"}, "box", "sh", "-c", "until sleep 1000 | nc first 99; do :; done")
	connected := func() bool {
		return strings.Contains(m.ok("exec", "last", "cat", "/proc/net/tcp"), ":0063 01 ")
	}
	until(t, "the connection", connected)
	m.ok("rm", "-f", "first", "last")
	onlyEnds(t, earlier)
}

// ends are the outer ends of containers' interfaces, whoever's they are.
func ends(t *testing.T) []string {
	t.Helper()
	return regexp.MustCompile(`cv-[0-9a-f]+`).FindAllString(shell(t, "ip -o link"), -1)
}

// onlyEnds waits until there are none but these: the kernel takes its time.
func onlyEnds(t *testing.T, earlier []string) {
	t.Helper()
	until(t, "the interfaces to go", func() bool {
		return !slices.ContainsFunc(ends(t), func(name string) bool { return !slices.Contains(earlier, name) })
	})
}
