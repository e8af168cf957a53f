package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"coracle/probe"
	"coracle/probe/probetest"
)

// shell runs lines on the test's host, and fails the test when one does.
func shell(t *testing.T, lines string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", lines)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", lines, err, out)
	}
	return string(out)
}

// outside makes a network namespace that the test's host has a link to: what a
// container reaches there, it reaches by the host's forwarding. 10.219.0.2 answers
// echoes and has no route but to the host's 10.219.0.1.
// It returns a process that is there.
func outside(t *testing.T) int {
	t.Helper()
	probetest.Need(t, probe.NSNetSetns) // to know when it is there, and to set it up
	far := exec.Command("unshare", "-n", "sleep", "600")
	if err := far.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Process.Kill(); far.Wait() })
	here, _ := os.Readlink("/proc/self/ns/net")
	until(t, "a namespace", func() bool {
		there, err := os.Readlink("/proc/" + strconv.Itoa(far.Process.Pid) + "/ns/net")
		return err == nil && there != here
	})
	shell(t, "pid="+strconv.Itoa(far.Process.Pid)+`
ip link add out0 type veth peer name eth0 netns $pid
ip addr add 10.219.0.1/24 dev out0
ip link set out0 up
nsenter -t $pid -n ip addr add 10.219.0.2/24 dev eth0
nsenter -t $pid -n ip link set eth0 up
nsenter -t $pid -n ip link set lo up`)
	t.Cleanup(func() { exec.Command("ip", "link", "del", "out0").Run() })
	return far.Process.Pid
}

func (m *machine) reachesOutside(when, container string) {
	m.t.Helper()
	var last result
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if last = m.try("exec", container, "ping", "-c", "1", "-W", "1", "10.219.0.2"); last.code == 0 {
			return
		}
	}
	m.t.Errorf("%s: no way out: %s%s", when, last.out, last.err)
}

// again says to a test that it runs in a process of its own.
const again = "CORACLE_E2E_AGAIN"

// apart runs the test that calls it once more in a process, and so in a network
// namespace, of its own, and tells whether it has: in that one it has not.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(again) != "" {
		return false
	}
	parts := strings.Split(t.Name(), "/")
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run", "^"+strings.Join(parts, "$/^")+"$")
	cmd.Env = append(os.Environ(), again+"=1", "CORACLE="+binary)
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("skipped in its own namespace:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("it did not run:\n%s", out)
	}
	return true
}

// legacy has programs find the iptables that writes tables of the old kind, and
// skips where this kernel has none.
func legacy(t *testing.T) {
	t.Helper()
	multi, err := exec.LookPath("/usr/sbin/xtables-legacy-multi")
	if err != nil {
		t.Skip("needs iptables' programs of the old kind: ", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, end := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(multi, filepath.Join(dir, name+end)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if out, err := exec.Command("iptables", "-t", "nat", "-n", "-L").CombinedOutput(); err != nil {
		t.Skipf("needs iptables' tables of the old kind in the kernel: %s", out)
	}
}

// TestFirewallReload flushes the host's rules as administrators do. The monitors
// put ours there again.
func TestFirewallReload(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"bridge-nft", "bridge-iptables", "bridge-iptables, legacy"} {
		t.Run(name, func(t *testing.T) {
			rung, old, _ := strings.Cut(name, ", ")
			if old != "" {
				// Such tables stay as long as the network namespace.
				if apart(t) {
					return
				}
				legacy(t)
			}
			m := newMachine(t, "", "isolation=namespaces,wiring="+rung, 0)
			outside(t)
			m.network("reload", "--ipv6", "--subnet", "10.218.0.0/24", "--subnet", "fd00:78::/64")
			m.serve("served", "--network", "reload", "-p", "18600:80")
			m.network("within", "--internal")
			m.network("later")
			m.serve("moved", "--network", "within", "-p", "18601:80")
			m.ok("network", "connect", "later", "moved")
			const restore = `for t in filter nat; do printf '*%s\nCOMMIT\n' $t; done | iptables-restore`
			flushes := []string{"iptables -F; iptables -t nat -F", "iptables -t nat -F", "iptables -P FORWARD DROP", restore}
			t.Cleanup(func() { shell(t, "iptables -P FORWARD ACCEPT") })
			if _, err := exec.LookPath("/usr/sbin/nft"); err == nil && old == "" {
				flushes = append(flushes, "nft flush ruleset")
			}
			for _, how := range append([]string{"true"}, flushes...) {
				shell(t, how)
				for port, name := range map[string]string{"18600": "served", "18601": "moved"} {
					m.reachesOutside(how, name)
					fetch(t, "10.219.0.1:"+port, name)
				}
				if t.Failed() {
					t.Fatalf("after %s:\n%s", how, shell(t, "iptables-save; nft list ruleset || true"))
				}
			}
		})
	}
}

// TestBesideDocker has Docker and us publish ports and reach out of one host.
func TestBesideDocker(t *testing.T) {
	needRoot(t)
	outside(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	archive := filepath.Join(m.dir, "box.tar")
	m.ok("pull", "-q", "box")
	m.ok("save", "-o", archive, "box")
	early := map[string]*machine{}
	rungs := []string{"bridge-nft", "bridge-iptables"}
	for i, rung := range rungs {
		n := newMachine(t, "", "isolation=namespaces,wiring="+rung, 0)
		early[rung] = n
		n.network("early" + strconv.Itoa(i))
		n.serve("early"+strconv.Itoa(i), "--network", "early"+strconv.Itoa(i), "-p", strconv.Itoa(18610+i)+":80")
		n.reachesOutside("without Docker", "early"+strconv.Itoa(i))
	}
	// Docker makes FORWARD drop where it is itself that turns forwarding on.
	t.Cleanup(func() { shell(t, "iptables -P FORWARD ACCEPT; echo 1 > /proc/sys/net/ipv4/ip_forward") })
	shell(t, "echo 0 > /proc/sys/net/ipv4/ip_forward")
	p := newPeer(t)
	docker := func(args ...string) {
		t.Helper()
		if _, err := p.docker(args...); err != nil {
			t.Fatal(err)
		}
	}
	docker("load", "-i", archive)
	docker("run", "-d", "--name", "theirs", "--restart", "always", "-p", "18620:80", "box", "sh", "-c", "mkdir /w; echo theirs > /w/index.html; httpd -f -p 80 -h /w")
	t.Cleanup(func() { p.docker("rm", "-f", "theirs") })
	both := func(when string) {
		t.Helper()
		for i, rung := range rungs {
			early[rung].reachesOutside(when, "early"+strconv.Itoa(i))
			fetch(t, "10.219.0.1:"+strconv.Itoa(18610+i), "early"+strconv.Itoa(i))
			fetch(t, "127.0.0.1:"+strconv.Itoa(18610+i), "early"+strconv.Itoa(i))
		}
		fetch(t, "10.219.0.1:18620", "theirs")
		docker("exec", "theirs", "ping", "-c", "1", "-W", "3", "10.219.0.2")
		if t.Failed() {
			t.Fatalf("%s:\n%s", when, shell(t, "iptables-save; nft list ruleset || true"))
		}
	}
	both("Docker came after us")
	if !strings.Contains(shell(t, "iptables -S FORWARD"), "-P FORWARD DROP") {
		t.Fatal("Docker's FORWARD does not drop: the test shows nothing")
	}
	dockers := func() string {
		return shell(t, "iptables-save | grep -v CORACLE | sed 's/\\[[0-9:]*\\]//; /^#/d' | sort")
	}
	before := dockers()
	for i, rung := range rungs {
		n := early[rung]
		name := "late" + strconv.Itoa(i)
		n.network(name)
		n.serve(name, "--network", name, "-p", strconv.Itoa(18630+i)+":80")
		n.reachesOutside("we came after Docker", name)
		fetch(t, "10.219.0.1:"+strconv.Itoa(18630+i), name)
		n.ok("rm", "-f", name)
		n.ok("network", "rm", name)
	}
	both("after others of ours went")
	p.restart()
	both("Docker was restarted")
	if after := dockers(); after != before {
		t.Errorf("Docker's rules were\n%s\nand are\n%s", before, after)
	}
}
