// Package nat is the host's part of a bridged network in its packet filter: the
// way out, published ports, and isolation between networks.
//
// Nothing that is the host's is changed: all stands in tables, or chains, of our
// own, a set for each network and one for each container, so that taking it away
// is one deletion that needs no memory of what was put there. [NFTables] talks
// netlink; [IPTables] is the second rung, by the program.
package nat

import "net/netip"

// Network is what a bridge needs.
type Network struct {
	ID      string
	Bridge  string
	Subnets []netip.Prefix
	// Internal: nothing leads out or in.
	Internal bool
	// ICC: containers on the bridge reach each other.
	ICC bool
	// Masquerade: what leaves has the host's address.
	Masquerade bool
}

// Port leads Count ports from Host on to the same number from Port on of To.
type Port struct {
	Proto string
	// HostIP; not valid: every address of the host of To's family.
	HostIP     netip.Addr
	Host, Port uint16
	Count      uint16
	To         netip.Addr
}

// Container is what one container needs.
type Container struct {
	ID    string
	Ports []Port
}

// Firewall is one way to have it. What is there already is put there anew, as a
// whole; what is not there can be dropped.
type Firewall interface {
	PutNetwork(n *Network) error
	DropNetwork(id string) error
	PutContainer(c *Container) error
	DropContainer(id string) error
	// HasNetwork and HasContainer tell whether all of it is still there.
	HasNetwork(n *Network) bool
	HasContainer(c *Container) bool
}

// short is the part of an ID that names tables and chains.
func short(id string) string { return id[:min(12, len(id))] }

// families are those of a list of subnets.
func families(list []netip.Prefix) (v4, v6 bool) {
	for _, p := range list {
		if p.Addr().Is4() {
			v4 = true
		} else {
			v6 = true
		}
	}
	return v4, v6
}
