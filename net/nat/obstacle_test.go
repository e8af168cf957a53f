package nat

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// TestObstacles: a chain for bridges that drops is in the way, one that accepts is
// not, and one for packets only where those on bridges are filtered.
func TestObstacles(t *testing.T) {
	probetest.Need(t, probe.Root, probe.NSNet, probe.NFTables)
	if _, err := exec.LookPath("/usr/sbin/nft"); err != nil {
		t.Skip("needs nft: ", err)
	}
	n := &Network{ID: "fedcba987654", Bridge: "cr-x", Subnets: []netip.Prefix{netip.MustParsePrefix("10.97.0.0/24")}}
	t.Cleanup(func() { exec.Command("/usr/sbin/nft", "delete", "table", "bridge", "fw").Run() })
	before := len(Obstacles(NFTables{}, n))
	if out, err := exec.Command("/usr/sbin/nft", "add table bridge fw; add chain bridge fw onward { type filter hook forward priority 0; policy accept; }").CombinedOutput(); err != nil {
		t.Skipf("missing feature: nftables for bridges: %s", out)
	}
	if got := Obstacles(NFTables{}, n); len(got) != before {
		t.Errorf("a chain that accepts: %q", got)
	}
	shell(t, "nft 'add chain bridge fw onward { policy drop; }'")
	got := strings.Join(Obstacles(NFTables{}, n), "; ")
	if !strings.Contains(got, "chain onward of the host's table bridge fw") {
		t.Errorf("a chain that drops: %q", got)
	}
	shell(t, "nft 'add table inet fw2; add chain inet fw2 onward { type filter hook forward priority 0; policy drop; }'")
	defer shell(t, "nft delete table inet fw2")
	if got := strings.Contains(strings.Join(Obstacles(NFTables{}, n), "; "), "inet fw2"); got != filtered("iptables") {
		t.Errorf("a chain for packets: %v, and those on bridges are filtered: %v", got, filtered("iptables"))
	}
}
