package network

import (
	"cmp"
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
