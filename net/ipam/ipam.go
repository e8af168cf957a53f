// Package ipam chooses subnets for networks and addresses for endpoints. It is
// arithmetic only: what is taken is told it, and what it chose is written down
// by package objects.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"

	dnetwork "github.com/moby/moby/api/types/network"
)

// The sentinels; the texts are Docker's.
var (
	ErrTaken     = errors.New("Address already in use")
	ErrExhausted = errors.New("no available IPv4 addresses on this network's address pools")
	ErrPools     = errors.New("all predefined address pools have been fully subnetted")
	ErrOverlap   = errors.New("Pool overlaps with other one on this address space")
)

// pool is a range that is cut into subnets.
type pool struct {
	base string
	size int
}

// pools are Docker's own, in its order.
func pools() []pool {
	return []pool{
		{"172.17.0.0/16", 16}, {"172.18.0.0/16", 16}, {"172.19.0.0/16", 16},
		{"172.20.0.0/14", 16}, {"172.24.0.0/14", 16}, {"172.28.0.0/14", 16},
		{"192.168.0.0/16", 20},
	}
}

// Subnet is the first subnet of Docker's pools that overlaps nothing in taken.
func Subnet(taken []netip.Prefix) (netip.Prefix, error) {
	return cut(pools(), taken)
}

// Loopback is the same in 127.0.0.0/8, for a rung whose containers have the
// host's network: the first subnets are left to the host's own services.
func Loopback(taken []netip.Prefix) (netip.Prefix, error) {
	return cut([]pool{{"127.17.0.0/16", 16}, {"127.18.0.0/15", 16}, {"127.20.0.0/14", 16}, {"127.24.0.0/13", 16}, {"127.32.0.0/11", 16}, {"127.64.0.0/10", 16}}, taken)
}

func cut(list []pool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, p := range list {
		base := netip.MustParsePrefix(p.base)
		for at := base.Addr(); base.Contains(at); {
			try := netip.PrefixFrom(at, p.size)
			if Overlap(try, taken) == nil {
				return try, nil
			}
			next := Last(try).Next()
			if !next.IsValid() {
				break
			}
			at = next
		}
	}
	return netip.Prefix{}, ErrPools
}

// Overlap returns the first of taken that shares an address with p, or nil.
func Overlap(p netip.Prefix, taken []netip.Prefix) *netip.Prefix {
	for i, t := range taken {
		if p.Overlaps(t) {
			return &taken[i]
		}
	}
	return nil
}

// Local is a subnet for unique local addresses (RFC 4193), made of 40 bits that
// are random for a state directory and the number of the subnet in it.
func Local(global [5]byte, taken []netip.Prefix) (netip.Prefix, error) {
	raw := [16]byte{0: 0xfd}
	copy(raw[1:], global[:])
	for n := range 1 << 16 {
		raw[6], raw[7] = byte(n>>8), byte(n)
		try := netip.PrefixFrom(netip.AddrFrom16(raw), 64)
		if Overlap(try, taken) == nil {
			return try, nil
		}
	}
	return netip.Prefix{}, ErrPools
}

// Last is the last address of p: the broadcast address, for IPv4.
func Last(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().As16()
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(raw).Unmap()
	}
	return netip.AddrFrom16(raw)
}

// Complete checks one subnet of a network and fills in its gateway.
func Complete(c *dnetwork.IPAMConfig) error {
	s := c.Subnet
	if !s.IsValid() {
		return fmt.Errorf("invalid subnet: it is missing")
	}
	if s != s.Masked() {
		return fmt.Errorf("invalid subnet %s: it should be %s", s, s.Masked())
	}
	if r := c.IPRange; r.IsValid() {
		if r != r.Masked() {
			return fmt.Errorf("invalid ip-range %s: it should be %s", r, r.Masked())
		}
		if r.Bits() < s.Bits() || !s.Contains(r.Addr()) {
			return fmt.Errorf("invalid ip-range %s: parent subnet is %s", r, s)
		}
	}
	hosts := s.Addr().BitLen() - s.Bits()
	if hosts < 2 {
		return fmt.Errorf("invalid subnet %s: it has no room for a gateway and a container", s)
	}
	if !c.Gateway.IsValid() {
		c.Gateway = first(c)
	}
	if !s.Contains(c.Gateway) {
		return fmt.Errorf("no matching subnet for gateway %s", c.Gateway)
	}
	if c.Gateway == s.Addr() || c.Gateway.Is4() && c.Gateway == Last(s) {
		return fmt.Errorf("failed to allocate gateway (%s): %w", c.Gateway, ErrTaken)
	}
	for name, a := range c.AuxAddress {
		if !s.Contains(a) {
			return fmt.Errorf("no matching subnet for aux-address %s=%s", name, a)
		}
		if a == c.Gateway {
			return fmt.Errorf("failed to allocate secondary ip address (%s:%s): %w", name, a, ErrTaken)
		}
	}
	return nil
}

// first is the first address that a network can use: of the range, where that
// is not a part in the middle.
func first(c *dnetwork.IPAMConfig) netip.Addr {
	from := c.Subnet
	if c.IPRange.IsValid() {
		from = c.IPRange
	}
	a := from.Addr()
	if a == c.Subnet.Addr() {
		a = a.Next()
	}
	return a
}

// Address gives the lowest free address of c, or asked itself, where that is
// valid. It returns it with the length of the subnet.
func Address(c *dnetwork.IPAMConfig, asked netip.Addr, taken map[netip.Addr]bool) (netip.Prefix, error) {
	s := c.Subnet
	reserved := func(a netip.Addr) bool {
		if a == c.Gateway || a == s.Addr() || taken[a] {
			return true
		}
		if a.Is4() && a == Last(s) {
			return true
		}
		for _, aux := range c.AuxAddress {
			if a == aux {
				return true
			}
		}
		return false
	}
	if asked.IsValid() {
		if !s.Contains(asked) {
			return netip.Prefix{}, fmt.Errorf("no configured subnet contains IP address %s", asked)
		}
		if reserved(asked) {
			return netip.Prefix{}, ErrTaken
		}
		return netip.PrefixFrom(asked, s.Bits()), nil
	}
	from := s
	if c.IPRange.IsValid() {
		from = c.IPRange
	}
	for a := from.Addr(); from.Contains(a); a = a.Next() {
		if !reserved(a) {
			return netip.PrefixFrom(a, s.Bits()), nil
		}
	}
	return netip.Prefix{}, ErrExhausted
}
