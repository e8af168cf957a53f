package nat

import (
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
)

// Obstacles says what in the host's packet filter may keep containers of a network
// from each other: rules of ours that are gone where the host's drop, and chains of
// others that drop what they do not know. A frame from one port of a bridge to
// another meets such rules only where the host has br_netfilter do that.
func Obstacles(f Firewall, n *Network) []string {
	v4, v6 := families(n.Subnets)
	v4, v6 = v4 && filtered("iptables"), v6 && filtered("ip6tables")
	var out []string
	for six, asked := range map[bool]bool{false: v4, true: v6} {
		if !asked {
			continue
		}
		if _, ok := f.(NFTables); ok && !settled(six, n.ID) || !ok && !passes(six, n.ID) {
			out = append(out, fmt.Sprintf("the FORWARD chain of %s may drop it, and does not lead to the rules of this network", family(six)))
		}
	}
	return append(out, droppers(v4, v6)...)
}

// filtered tells whether the packet filter of a family sees frames on bridges.
func filtered(name string) bool {
	data, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-" + name)
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// droppers are nftables' chains that drop what no rule of theirs lets pass, but
// iptables' own.
func droppers(v4, v6 bool) []string {
	c, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil
	}
	var out []string
	for _, ch := range chains {
		if ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward {
			continue
		}
		kind := ""
		switch ch.Table.Family {
		case nftables.TableFamilyBridge:
			kind = "bridge"
		case nftables.TableFamilyINet:
			if v4 || v6 {
				kind = "inet"
			}
		case nftables.TableFamilyIPv4:
			if v4 && ch.Table.Name != "filter" {
				kind = "ip"
			}
		case nftables.TableFamilyIPv6:
			if v6 && ch.Table.Name != "filter" {
				kind = "ip6"
			}
		}
		if kind != "" {
			out = append(out, fmt.Sprintf("chain %s of the host's table %s %s drops what no rule of its own lets pass", ch.Name, kind, ch.Table.Name))
		}
	}
	return out
}
