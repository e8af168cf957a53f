package network

import (
	"cmp"
	"net/netip"
	"slices"
)

// Way is the endpoint that has the default route of a family, or nil: the one
// with a gateway and the highest priority, of equals the first by name.
func Way(list []*Endpoint, v6 bool) *Endpoint {
	var out []*Endpoint
	for _, ep := range list {
		if gw := ep.Gateway4; v6 && ep.Gateway6.IsValid() || !v6 && gw.IsValid() {
			out = append(out, ep)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return slices.MinFunc(out, func(a, b *Endpoint) int {
		if c := cmp.Compare(b.GwPriority, a.GwPriority); c != 0 {
			return c
		}
		return cmp.Compare(a.NetworkName, b.NetworkName)
	})
}

// Inward is where published ports lead: the address, IPv4 or else IPv6, of the endpoint
// that has the default route. Not valid: none has, and nothing is published.
func Inward(list []*Endpoint) netip.Addr {
	if ep := Way(list, false); ep != nil {
		return ep.IPv4.Addr()
	}
	if ep := Way(list, true); ep != nil {
		return ep.IPv6.Addr()
	}
	return netip.Addr{}
}
