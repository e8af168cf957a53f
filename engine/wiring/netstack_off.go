//go:build !netstack

package wiring

import "coracle/net/network"

// netstackDriver is none: see package backends.
func netstackDriver(string) network.Driver { return nil }
