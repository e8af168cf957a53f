package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealClients has programs of Debian's talk through each bridge.
func TestRealClients(t *testing.T) {
	needRoot(t)
	tree := filepath.Join(filepath.Dir(debian), servicesTree)
	if !exists(tree) || !exists("/usr/bin/curl") || !exists("/usr/bin/iperf3") {
		t.Skip("needs build/services.tar, curl and iperf3: internal/needs/install.sh gets them")
	}
	for _, rung := range bridges() {
		t.Run(rung, func(t *testing.T) {
			m := newMachine(t, "", "isolation=namespaces,rootfs=overlay,wiring="+rung, 0)
			m.ok("import", tree, "services")
			m.network("real")
			m.run("nginx", []string{"--network", "real", "-p", "18700:80"}, "services", "nginx", "-g", "daemon off;")
			m.run("redis", []string{"--network", "real"}, "services", "redis-server", "--save", "", "--protected-mode", "no")
			// The host's programs with the host's libraries.
			host := []string{"--network", "real", "-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro"}
			m.run("iperf", append(host, "-p", "18701:5201", "-p", "18701:5201/udp"), "box", "/usr/bin/iperf3", "-s")
			m.run("client", host, "box", "sleep", "600")
			says := func(want string, args ...string) {
				t.Helper()
				var last result
				until(t, strings.Join(args, " "), func() bool {
					last = m.try(append([]string{"exec"}, args...)...)
					return last.code == 0 && strings.Contains(last.out, want)
				})
			}
			says("Welcome to nginx", "client", "/usr/bin/curl", "-sS", "http://nginx/")
			says("PONG", "nginx", "redis-cli", "-h", "redis", "ping")
			says("receiver", "client", "/usr/bin/iperf3", "-c", "iperf", "-n", "50M")
			says("receiver", "client", "/usr/bin/iperf3", "-c", "iperf", "-u", "-b", "20M", "-n", "1M")
			for _, line := range []string{"curl -sSf http://127.0.0.1:18700/", "iperf3 -c 127.0.0.1 -p 18701 -n 50M", "iperf3 -c 127.0.0.1 -p 18701 -u -b 20M -n 1M"} {
				if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", line, err, out)
				}
			}
		})
	}
}
