package objects

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Used are the subnets that the host has routes to or addresses in, but for
// those of the interface but and default routes.
func Used(but string) []netip.Prefix {
	skip := -1
	if but != "" {
		if link, err := netlink.LinkByName(but); err == nil {
			skip = link.Attrs().Index
		}
	}
	var out []netip.Prefix
	add := func(p netip.Prefix, link int) {
		if p.IsValid() && p.Bits() > 0 && link != skip && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			out = append(out, p.Masked())
		}
	}
	// Half a list is better than none: who is wrong here is told by the kernel.
	routes, _ := netlink.RouteList(nil, netlink.FAMILY_ALL)
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok {
			ones, _ := r.Dst.Mask.Size()
			add(netip.PrefixFrom(a.Unmap(), ones), r.LinkIndex)
		}
	}
	addrs, _ := netlink.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			ones, _ := a.Mask.Size()
			add(netip.PrefixFrom(ip.Unmap(), ones), a.LinkIndex)
		}
	}
	return out
}
