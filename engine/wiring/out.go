package wiring

import (
	"io"
	"net/netip"

	"coracle/net/bridge"
	"coracle/net/netstack"
)

// out is the way out of bridges without a packet filter: the gateway of netstack.
func (m *Manager) out(o bridge.Outward) (io.Closer, error) {
	return netstack.Out(netstack.Outward{
		Endpoint: o.Endpoint, MTU: o.MTU, Wire: o.Wire,
		Refuse: func(a netip.Addr) bool { return m.ofAnother(a, o.Network.ID) },
	})
}

// ofAnother tells whether an address is on another network than that, where the
// host would reach it and the container must not. The host's own addresses are
// those of gateways.
func (m *Manager) ofAnother(a netip.Addr, id string) bool {
	list, err := m.Store.List()
	if err != nil {
		return true
	}
	for _, n := range list {
		for _, c := range n.IPAM.Config {
			if n.ID != id && c.Subnet.IsValid() && c.Subnet.Contains(a) && a != c.Gateway {
				return true
			}
		}
	}
	return false
}
