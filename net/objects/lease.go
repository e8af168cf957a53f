package objects

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"coracle/net/ipam"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
)

// lease takes the lock of a network's addresses.
func (s *Store) lease(id string) (*os.File, error) {
	for {
		if err := os.MkdirAll(s.Dir(id), 0o711); err != nil {
			return nil, err
		}
		path := filepath.Join(s.Dir(id), "lock")
		f, err := flock(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// The network may have been removed while we waited.
		a, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if b, err := os.Lstat(path); err == nil && os.SameFile(a, b) {
			return f, nil
		}
		f.Close()
	}
}

// Endpoints are those on a network now.
func (s *Store) Endpoints(id string) ([]*network.Endpoint, error) {
	return network.ReadEndpoints(s.Dir(id))
}

// Endpoint is a container's place on a network; fs.ErrNotExist: it is not on it.
func (s *Store) Endpoint(id, container string) (*network.Endpoint, error) {
	return network.ReadEndpoint(filepath.Join(s.Dir(id), container))
}

// Lease gives ep its addresses on n and writes it. ep says what is asked for in
// Asked. check, which may be nil, sees who is on the network already.
func (s *Store) Lease(n *network.Network, ep *network.Endpoint, loopback bool, check func(others []*network.Endpoint) error) error {
	lock, err := s.lease(n.ID)
	if err != nil {
		return err
	}
	defer lock.Close()
	switch now, err := s.Named(n.Name); {
	case errors.Is(err, ErrNotFound), err == nil && now.ID != n.ID:
		// The lock has made its directory again.
		return errors.Join(ErrNotFound, err, os.RemoveAll(s.Dir(n.ID)))
	case err != nil:
		return errors.Join(ErrNotFound, err)
	}
	others, err := s.Endpoints(n.ID)
	if err != nil {
		return err
	}
	taken := map[netip.Addr]bool{}
	kept := others[:0]
	for _, o := range others {
		if o.ContainerID == ep.ContainerID || o.Boot != ep.Boot {
			continue // of an earlier run, or boot
		}
		kept = append(kept, o)
		for _, a := range append([]netip.Addr{o.IPv4.Addr(), o.IPv6.Addr()}, o.LinkLocal...) {
			taken[a] = true
		}
	}
	if check != nil {
		if err := check(kept); err != nil {
			return err
		}
	}
	if err := choose(n, ep, loopback, taken); err != nil {
		return err
	}
	return s.Update(ep)
}

// Update writes one endpoint, whose addresses are leased.
func (s *Store) Update(ep *network.Endpoint) error {
	ep.Format = network.Format
	return write(filepath.Join(s.Dir(ep.NetworkID), ep.ContainerID), ep, false)
}

func choose(n *network.Network, ep *network.Endpoint, loopback bool, taken map[netip.Addr]bool) (err error) {
	var ask4, ask6 netip.Addr
	if ep.Asked != nil {
		ask4, ask6 = ep.Asked.IPv4Address, ep.Asked.IPv6Address
		ep.LinkLocal = ep.Asked.LinkLocalIPs
	}
	configs := n.IPAM.Config
	if loopback {
		// An address that the network has, and that nobody can have here; the
		// driver says so.
		for _, ask := range []*netip.Addr{&ask4, &ask6} {
			if within(configs, *ask) {
				*ask = netip.Addr{}
			}
		}
		configs = []dnetwork.IPAMConfig{{Subnet: n.Loopback, Gateway: n.Loopback.Addr().Next()}}
	}
	for _, a := range ep.LinkLocal {
		if taken[a] {
			return ipam.ErrTaken
		}
	}
	var gw4, gw6 netip.Addr
	if ep.IPv4, gw4, err = pick(configs, false, ask4, taken); err != nil {
		return err
	}
	if ep.IPv6, gw6, err = pick(configs, true, ask6, taken); err != nil {
		return err
	}
	ep.Gateway4, ep.Gateway6 = netip.Addr{}, netip.Addr{}
	if !n.Internal && !loopback {
		ep.Gateway4, ep.Gateway6 = gw4, gw6
	}
	if len(ep.MAC) == 0 {
		ep.MAC = hardware(ep)
	}
	return nil
}

func within(configs []dnetwork.IPAMConfig, a netip.Addr) bool {
	return slices.ContainsFunc(configs, func(c dnetwork.IPAMConfig) bool { return a.IsValid() && c.Subnet.Contains(a) })
}

// pick takes an address of the first subnet of the family that has one.
func pick(configs []dnetwork.IPAMConfig, v6 bool, asked netip.Addr, taken map[netip.Addr]bool) (netip.Prefix, netip.Addr, error) {
	var last error
	for i := range configs {
		c := &configs[i]
		if c.Subnet.Addr().Is6() != v6 || asked.IsValid() && !c.Subnet.Contains(asked) {
			continue
		}
		p, err := ipam.Address(c, asked, taken)
		if err == nil {
			return p, c.Gateway, nil
		}
		last = err
	}
	if last == nil && asked.IsValid() {
		_, last = ipam.Address(&dnetwork.IPAMConfig{}, asked, nil)
	}
	return netip.Prefix{}, netip.Addr{}, last
}

// hardware is the MAC address that goes with an address, so that neighbours who
// remember that of an earlier container at the same address need not forget it.
func hardware(ep *network.Endpoint) dnetwork.HardwareAddr {
	if !ep.IPv4.IsValid() && !ep.IPv6.IsValid() {
		return nil
	}
	if ep.IPv4.IsValid() {
		a := ep.IPv4.Addr().As4()
		return dnetwork.HardwareAddr{0x02, 0x42, a[0], a[1], a[2], a[3]}
	}
	a := ep.IPv6.Addr().As16()
	return dnetwork.HardwareAddr{0x02, 0x42, a[12], a[13], a[14], a[15]}
}

// Free gives an endpoint's addresses back.
func (s *Store) Free(networkID, container string) error {
	err := os.Remove(filepath.Join(s.Dir(networkID), container))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
