package nat

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
)

// LetPass sees to it that what our tables let through is not dropped by the
// host's FORWARD chain of iptables, which Docker makes drop what it does not
// know: a chain that accepts has no say over others at the same hook. It takes
// the iptables program, as that is whose chain it is. What is whole is left alone.
func LetPass(f Firewall, n *Network) error {
	if _, ok := f.(NFTables); !ok || n.Internal {
		return nil
	}
	v4, v6 := families(n.Subnets)
	for six, want := range map[bool]bool{false: v4, true: v6} {
		if !want || !drops(six) || passes(six, n.ID) {
			continue
		}
		if err := (IPTables{}).Pass(n, six); err != nil {
			return fmt.Errorf("the host's FORWARD chain drops what it does not know: %w", err)
		}
	}
	return nil
}

// drops tells whether the host's FORWARD chain may drop: by its policy, or, for
// iptables of the old kind, because it is there at all.
func drops(v6 bool) bool {
	names, family := "/proc/net/ip_tables_names", nftables.TableFamilyIPv4
	if v6 {
		names, family = "/proc/net/ip6_tables_names", nftables.TableFamilyIPv6
	}
	if data, err := os.ReadFile(names); err == nil && strings.Contains("\n"+string(data), "\nfilter\n") {
		return true
	}
	c, err := nftables.New()
	if err != nil {
		return false
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return false
	}
	for _, ch := range chains {
		if ch.Table.Name == "filter" && ch.Name == "FORWARD" && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			return true
		}
	}
	return false
}
