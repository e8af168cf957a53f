package nat

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// TestTogether has many networks come and go at once: the host's FORWARD leads to
// our chain once, and at the end not at all.
func TestTogether(t *testing.T) {
	probetest.Need(t, probe.Root, probe.NSNet)
	if _, err := exec.LookPath("/usr/sbin/iptables"); err != nil {
		t.Skip("needs the iptables program: ", err)
	}
	if !isEmpty(t) {
		t.Fatal("FORWARD leads to us before the test")
	}
	all := make([]*Network, 6)
	for i := range all {
		all[i] = &Network{
			ID: fmt.Sprintf("%012d", i), Bridge: fmt.Sprintf("cr-%d", i), ICC: true, Masquerade: true,
			Subnets: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.98.%d.0/24", i))},
		}
	}
	each := func(do func(n *Network) error) {
		var wg sync.WaitGroup
		for _, n := range all {
			wg.Go(func() {
				if err := do(n); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	each(IPTables{}.PutNetwork)
	if got := shell(t, "iptables -S FORWARD"); strings.Count(got, "-j "+top) != 1 {
		t.Errorf("FORWARD:\n%s", got)
	}
	for _, n := range all {
		if !(IPTables{}).HasNetwork(n) {
			t.Errorf("network %s is not whole", n.ID)
		}
	}
	each(func(n *Network) error { return IPTables{}.DropNetwork(n.ID) })
	if !isEmpty(t) {
		t.Errorf("left:\n%s", shell(t, "iptables-save"))
	}
}

func isEmpty(t *testing.T) bool {
	t.Helper()
	return !strings.Contains(shell(t, "iptables-save"), "CORACLE")
}
