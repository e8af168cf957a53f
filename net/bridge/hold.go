package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"coracle/net/network"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Classes of packets, and the offsets of what is looked at, from the network
// header on (u32 of tc-u32(8)): the source of a frame, of IPv4 and IPv6 packets,
// and the sender of an ARP packet (RFC 826).
const (
	offFrame = -8
	offIPv4  = 12
	offIPv6  = 8
	offARP   = 14
)

// hold drops what comes out of an endpoint's interface and claims to be of
// another on the network: by an ingress filter of the host's end, which goes with
// it, and needs no packet filter. Sources outside of the network pass: a
// container may be a router.
func hold(h *netlink.Handle, n *network.Network, ep *network.Endpoint) error {
	link, err := h.LinkByName(ep.Outer)
	if err != nil {
		return err
	}
	f := &filters{h: h, link: link.Attrs().Index, mac: ep.MAC}
	q := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: f.link, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
	if err := h.QdiscAdd(q); err != nil {
		return unlessMissing(err)
	}
	for _, a := range append([]netip.Addr{ep.IPv4.Addr(), ep.IPv6.Addr()}, ep.LinkLocal...) {
		if a.IsValid() {
			f.source(netip.PrefixFrom(a, a.BitLen()), true)
		}
	}
	for _, c := range n.IPAM.Config {
		f.source(c.Subnet, false)
	}
	f.add(unix.ETH_P_ALL, f.frame(), true)
	f.add(unix.ETH_P_ALL, nil, false)
	return unlessMissing(f.err)
}

// unlessMissing: a kernel without the filters has been said to have none.
func unlessMissing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// filters are added in order: the first that matches decides.
type filters struct {
	h    *netlink.Handle
	link int
	mac  []byte
	prio uint16
	err  error
}

// source lets packets from p pass that come from the right hardware, or drops
// all of them.
func (f *filters) source(p netip.Prefix, pass bool) {
	var keys []nl.TcU32Key
	if pass {
		keys = f.frame()
	}
	if p.Addr().Is6() {
		f.add(unix.ETH_P_IPV6, append(keys[:len(keys):len(keys)], prefix(p, offIPv6)...), pass)
		return
	}
	f.add(unix.ETH_P_IP, append(keys[:len(keys):len(keys)], prefix(p, offIPv4)...), pass)
	f.add(unix.ETH_P_ARP, append(keys[:len(keys):len(keys)], prefix(p, offARP)...), pass)
}

// frame matches the endpoint's hardware address as source.
func (f *filters) frame() []nl.TcU32Key {
	return []nl.TcU32Key{
		{Mask: 0xffffffff, Val: binary.BigEndian.Uint32(f.mac[:4]), Off: offFrame},
		{Mask: 0xffff0000, Val: uint32(binary.BigEndian.Uint16(f.mac[4:])) << 16, Off: offFrame + 4},
	}
}

func prefix(p netip.Prefix, at int32) []nl.TcU32Key {
	raw := p.Addr().AsSlice()
	var keys []nl.TcU32Key
	for bits := p.Bits(); bits > 0; bits -= 32 {
		mask := uint32(0xffffffff)
		if bits < 32 {
			mask <<= 32 - bits
		}
		keys = append(keys, nl.TcU32Key{Mask: mask, Val: binary.BigEndian.Uint32(raw) & mask, Off: at})
		raw, at = raw[4:], at+4
	}
	return keys
}

func (f *filters) add(protocol uint16, keys []nl.TcU32Key, pass bool) {
	if f.err != nil {
		return
	}
	if len(keys) == 0 {
		keys = []nl.TcU32Key{{}}
	}
	f.prio++
	verdict := netlink.TC_ACT_SHOT
	if pass {
		verdict = netlink.TC_ACT_OK
	}
	err := f.h.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: f.link, Parent: netlink.MakeHandle(0xffff, 0), Priority: f.prio, Protocol: protocol},
		Sel:         &nl.TcU32Sel{Flags: nl.TC_U32_TERMINAL, Nkeys: uint8(len(keys)), Keys: keys},
		Actions:     []netlink.Action{&netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: verdict}}},
	})
	if err != nil {
		f.err = fmt.Errorf("filter what comes out of an interface: %w", err)
	}
}

// shut keeps a port of a bridge from passing anything on, at once: the state
// "disabled" of its spanning tree (IFLA_BRPORT_STATE).
func shut(h *netlink.Handle, name string) {
	link, err := h.LinkByName(name)
	if err != nil {
		return
	}
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	info.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{0})
	req.AddData(info)
	req.Execute(unix.NETLINK_ROUTE, 0)
}
