package nat

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
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
		if !want || settled(six, n.ID) {
			continue
		}
		if err := (IPTables{}).Pass(n, six); err != nil {
			return fmt.Errorf("the host's FORWARD chain drops what it does not know: %w", err)
		}
	}
	return nil
}

// settled tells whether the host's FORWARD chain lets pass what is the network's. It
// may drop by its policy, or, for iptables of the old kind, because it is there at
// all: that one only its program can read, once for each chain.
func settled(v6 bool, id string) bool {
	if slices.Contains(oldTables(v6), "filter") {
		return passes(v6, id)
	}
	family := nftables.TableFamilyIPv4
	if v6 {
		family = nftables.TableFamilyIPv6
	}
	c, err := nftables.New()
	if err != nil {
		return true
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return true
	}
	f := filterTable{c: c, chains: map[string]*nftables.Chain{}}
	for _, ch := range chains {
		if ch.Table.Name == "filter" {
			f.chains[ch.Name] = ch
		}
	}
	forward := f.chains["FORWARD"]
	if forward == nil || forward.Policy == nil || *forward.Policy != nftables.ChainPolicyDrop {
		return true
	}
	return f.leads("FORWARD", top) && f.leads(top, networkChain(id)) && f.leads(top, passChain(id)) && f.filled(passChain(id))
}

// filterTable is iptables' table "filter" as nftables has it: the program of the
// newer kind keeps its rules there.
type filterTable struct {
	c      *nftables.Conn
	chains map[string]*nftables.Chain
}

func (f *filterTable) rules(chain string) []*nftables.Rule {
	ch := f.chains[chain]
	if ch == nil {
		return nil
	}
	rules, err := f.c.GetRules(ch.Table, ch)
	if err != nil {
		return nil
	}
	return rules
}

func (f *filterTable) filled(chain string) bool { return len(f.rules(chain)) > 0 }

// leads tells whether a rule of a chain jumps to another that is there.
func (f *filterTable) leads(from, to string) bool {
	if f.chains[to] == nil {
		return false
	}
	for _, r := range f.rules(from) {
		for _, e := range r.Exprs {
			if v, ok := e.(*expr.Verdict); ok && v.Kind == expr.VerdictJump && v.Chain == to {
				return true
			}
		}
	}
	return false
}
