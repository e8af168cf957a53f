package e2e

import (
	netpkg "net"
	"os"
	"strings"
	"testing"
)

// wiringFlags asserts one by one what flags and options ask of a network.
func wiringFlags(t *testing.T, m *machine) {
	m.network("flags", "--subnet", "10.211.0.0/24", "--ip-range", "10.211.0.128/25", "--gateway", "10.211.0.1")
	says := func(want string, args ...string) {
		t.Helper()
		if out := m.ok(append([]string{"run", "--rm"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("%s: no %q in:\n%s", strings.Join(args, " "), want, out)
		}
	}
	says("02:42:ac:11:00:99", "--mac-address", "02:42:ac:11:00:99", "box", "cat", "/sys/class/net/eth0/address")
	if m.uid == 0 {
		says("no IPv6", "box", "sh", "-c", "grep -q eth0 /proc/net/if_inet6 || echo no IPv6")
	}
	says("02:42:ac:11:00:98", "--network", "name=flags,mac-address=02:42:ac:11:00:98", "box", "cat", "/sys/class/net/eth0/address")
	says("169.254.8.8/16", "--network", "flags", "--link-local-ip", "169.254.8.8", "box", "ip", "addr")
	says("10.211.0.128/24", "--network", "flags", "box", "ip", "addr") // the first of the range
	says("10.211.0.7/24", "--network", "flags", "--ip", "10.211.0.7", "box", "ip", "addr")
	says("\tgateway", "--network", "flags", "--add-host", "gateway:host-gateway", "box", "cat", "/etc/hosts")
	says("eth7", "--network", "name=flags,driver-opt=com.docker.network.endpoint.ifname=eth7", "box", "ls", "/sys/class/net")
	if _, err := os.Stat("/proc/sys/net/ipv4/conf/lo/log_martians"); err == nil && m.uid == 0 {
		says("1", "--network", `name=flags,"driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0"`,
			"box", "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians")
	}
	m.network("prefixed", "--opt", "com.docker.network.container_iface_prefix=lan")
	says("lan0", "--network", "flags", "--network", "prefixed", "box", "ls", "/sys/class/net")

	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_comp_sack_delay_ns"); err == nil && strings.Contains(m.backend, "netstack") {
		const control = "/proc/sys/net/ipv4/tcp_congestion_control"
		says("reno", "box", "cat", control)
		host, err := os.ReadFile(control)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSpace(string(host))
		says(name, "--sysctl", "net.ipv4.tcp_congestion_control="+name, "box", "cat", control)
	}

	// Ports: of one address of the host's that the network says, all that are
	// exposed, and SCTP where there is a packet filter.
	m.network("bound", "--opt", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1")
	m.serve("bound", "--network", "bound", "-p", "18810:80")
	fetch(t, "127.0.0.1:18810", "bound")
	if got := m.ok("port", "bound"); got != "80/tcp -> 127.0.0.1:18810" {
		t.Errorf("port of a network with a host address: %s", got)
	}
	if c, err := netpkg.Dial("tcp", "[::1]:18810"); err == nil {
		c.Close()
		t.Error("a port for 127.0.0.1 alone is open at ::1")
	}
	m.serve("all", "-P", "--expose", "80", "--expose", "81-82/udp")
	out := m.ok("port", "all")
	for _, want := range []string{"80/tcp -> 0.0.0.0:", "81/udp -> 0.0.0.0:", "82/udp -> [::]:"} {
		if !strings.Contains(out, want) {
			t.Errorf("-P: no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(m.backend, "bridge-nft") || strings.Contains(m.backend, "bridge-iptables") {
		m.run("sctp", []string{"-p", "18811:80/sctp"}, "box", "sleep", "600")
		if got := m.ok("port", "sctp"); !strings.Contains(got, "80/sctp -> 0.0.0.0:18811") {
			t.Errorf("sctp: %s", got)
		}
	} else {
		m.fails(125, "/sctp", "run", "--rm", "-p", "18811:80/sctp", "box", "true")
	}

	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{125, "invalid link local IP address: 10.211.0.9", []string{"run", "--rm", "--network", "flags", "--link-local-ip", "10.211.0.9", "box", "true"}},
		{125, "invalid IPv4 address: nonsense", []string{"run", "--rm", "--network", "flags", "--ip", "nonsense", "box", "true"}},
		{125, `network "flags" is specified multiple times`, []string{"run", "--rm", "--network", "flags", "--network", "flags", "box", "true"}},
		{125, "invalid sysctl", []string{"run", "--rm", "--network", "name=flags,driver-opt=com.docker.network.endpoint.sysctls=kernel.x=1", "box", "true"}},
		{1, "failed to parse", []string{"network", "create", "--opt", "com.docker.network.bridge.host_binding_ipv4=x", "no"}},
		{1, "invalid value for option", []string{"network", "create", "--opt", "com.docker.network.container_iface_prefix=a/b", "no"}},
	} {
		m.fails(c.code, c.want, c.args...)
	}
	m.network("named1", "--opt", "com.docker.network.bridge.name=namedbr0")
	m.fails(1, "networks have same bridge name", "network", "create", "--opt", "com.docker.network.bridge.name=namedbr0", "named2")
}
