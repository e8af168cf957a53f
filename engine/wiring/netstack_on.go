//go:build netstack

package wiring

import (
	"coracle/net/netstack"
	"coracle/net/network"
)

// netstackDriver is the driver of the rung netstack.
func netstackDriver(run string) network.Driver { return netstack.New(netstack.Options{Run: run}) }
