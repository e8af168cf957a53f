//go:build netstack

package backends

import "coracle/probe"

// netstackRungs are in the list where the driver is linked.
func netstackRungs() []Rung {
	return []Rung{
		{
			Concern: Wiring, Name: "netstack", With: []string{"isolation=userns"},
			Needs: []probe.Feature{probe.NSUserNet, probe.Tun},
			Gives: "networks of containers without a right on the host: a TCP/IP stack and the wire in the monitors",
			Lacks: []string{"the kernel's speed"},
		},
		{
			Concern: Wiring, Name: "netstack", With: []string{"isolation=namespaces"},
			Needs: []probe.Feature{probe.NSNet, probe.Tun},
			Gives: "networks of containers without a bridge: a TCP/IP stack and the wire in the monitors",
			Lacks: []string{"the kernel's speed"},
		},
	}
}
