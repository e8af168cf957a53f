package nat

import (
	"net/netip"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// TestPorts: a port leads to a container by each way to know the host's own addresses,
// and the one without fib, of kernels before 4.10, by those that it has.
func TestPorts(t *testing.T) {
	probetest.Need(t, probe.Root, probe.NSNet, probe.NFTables)
	shell(t, "ip link add ports0 type veth peer name ports1 && ip addr add 192.0.2.9/24 dev ports0 && ip link set ports0 up")
	t.Cleanup(func() { shell(t, "ip link del ports0") })
	c := &Container{ID: "fedcba9876543210", Ports: []Port{
		{Proto: "tcp", Host: 18000, Port: 80, Count: 1, To: netip.MustParseAddr("10.99.0.2")},
		{Proto: "udp", Host: 18001, Port: 81, Count: 3, To: netip.MustParseAddr("10.99.0.2")},
		{Proto: "tcp", Host: 18004, Port: 84, Count: 1, To: netip.MustParseAddr("10.99.0.2"), HostIP: netip.MustParseAddr("192.0.2.9")},
	}}
	for range 2 { // anew, and in the place of the first
		if err := putPorts(c, known); err != nil {
			t.Fatal(err)
		}
	}
	if !(NFTables{}).HasContainer(c) {
		t.Error("nothing was put")
	}
	got := shell(t, "nft list table ip "+containerTable(c.ID))
	if strings.Contains(got, "fib") || strings.Count(got, "192.0.2.9") != 6 || strings.Contains(got, "127.0.0.1 ") {
		t.Errorf("without fib:\n%s", got)
	}
	if err := (NFTables{}).PutContainer(c); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, "nft list table ip "+containerTable(c.ID)); !strings.Contains(got, "fib") && strings.Count(got, "192.0.2.9") != 6 {
		t.Errorf("as the kernel has it:\n%s", got)
	}
	if err := (NFTables{}).DropContainer(c.ID); err != nil {
		t.Fatal(err)
	}
}
