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
	if !exists(tree) || !exists("/usr/bin/curl") || !exists("/usr/bin/iperf3") || !exists("/usr/bin/dig") || !exists("/usr/bin/psql") || !exists("/usr/bin/redis-cli") {
		t.Skip("needs build/services.tar, curl, iperf3, dig, psql and redis-cli: internal/needs/install.sh gets them")
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
			m.run("postgres", []string{"--network", "real", "-p", "18702:5432"}, "services", "sh", "-ec",
				`PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); export PGDATA=/tmp/data; chown postgres /tmp; exec setpriv --reuid postgres --regid postgres --clear-groups sh -ec "
initdb -A trust >/dev/null; echo 'host all all all trust' >>$PGDATA/pg_hba.conf; exec postgres -c unix_socket_directories=/tmp -c listen_addresses='*'"`)
			m.run("kv", []string{"--network", "real", "-p", "18703:6379", "--network-alias", "store"}, "services", "redis-server", "--save", "", "--protected-mode", "no")
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
			says("1 row", "client", "/usr/bin/env", "PERL5LIB=/usr/share/perl5", "/usr/bin/psql", "-h", "postgres", "-U", "postgres", "-c", "select 1")
			addr := m.address("kv", "real")
			for _, q := range [][]string{{"kv"}, {"store"}, {"+tcp", "kv"}, {"+noedns", "STORE"}} {
				says(addr, append([]string{"client", "/usr/bin/dig", "+short"}, q...)...)
			}
			says("kv.real.", "client", "/usr/bin/dig", "+short", "-x", addr)
			says("status: NOERROR, ", "client", "/usr/bin/dig", "AAAA", "kv")
			for _, line := range []string{
				`for i in $(seq 100); do psql -h 127.0.0.1 -p 18702 -U postgres -Atc 'select 41+1' 2>/dev/null | grep 42 && exit; sleep 0.2; done; exit 1`,
				"redis-cli -h 127.0.0.1 -p 18703 set a b && redis-cli -p 18703 get a | grep b",
				"curl -sSf http://127.0.0.1:18700/", "iperf3 -c 127.0.0.1 -p 18701 -n 50M", "iperf3 -c 127.0.0.1 -p 18701 -u -b 20M -n 1M",
			} {
				if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", line, err, out)
				}
			}
		})
	}
}
