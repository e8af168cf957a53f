package netstack

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"coracle/net/network"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	// vnetLen is a struct virtio_net_hdr (linux/virtio_net.h), which stands
	// before each frame on a TAP and between monitors: checksums that the
	// kernel leaves out, and TCP segments that it leaves whole.
	vnetLen = 10
	ethLen  = header.EthernetMinimumSize
	// mostFrame is the longest that a TAP gives.
	mostFrame = vnetLen + ethLen + 1<<16

	typeIPv4, typeARP, typeIPv6 = 0x0800, 0x0806, 0x86dd
)

type mac [6]byte

var (
	// gatewayMAC is the gateway's hardware address. Each container has one of
	// its own, so that they may all have the same.
	gatewayMAC = mac{0x02, 0x42, 0xc0, 0xac, 0x1e, 0x01}
	everyone   = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func macOf(ep *network.Endpoint) (m mac) {
	copy(m[:], ep.MAC)
	return m
}

func (m mac) group() bool { return m[0]&1 != 0 }

// frame is an Ethernet frame without what stands before it.
type frame []byte

func (f frame) dst() mac   { return mac(f[:6]) }
func (f frame) src() mac   { return mac(f[6:12]) }
func (f frame) kind() int  { return int(binary.BigEndian.Uint16(f[12:])) }
func (f frame) l3() []byte { return f[ethLen:] }

// arp is what an ARP packet for IPv4 over Ethernet says (RFC 826).
func (f frame) arp() (op uint16, sha mac, spa, tpa netip.Addr, ok bool) {
	b := f.l3()
	if len(b) < 28 || !bytes.Equal(b[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return 0, mac{}, netip.Addr{}, netip.Addr{}, false
	}
	return binary.BigEndian.Uint16(b[6:]), mac(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28])), true
}

// arpReply tells to that addr is at m.
func arpReply(to mac, toAddr netip.Addr, m mac, addr netip.Addr) []byte {
	b := make([]byte, vnetLen, vnetLen+ethLen+28)
	b = append(append(append(b, to[:]...), m[:]...), 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2)
	b = append(append(b, m[:]...), addr.AsSlice()...)
	return append(append(b, to[:]...), toAddr.AsSlice()...)
}

// neighbor is what a packet of neighbor discovery asks or tells (RFC 4861): the
// ICMPv6 type and the target.
func (f frame) neighbor() (kind header.ICMPv6Type, target netip.Addr, ok bool) {
	b := f.l3()
	if len(b) < header.IPv6MinimumSize+8 || b[6] != uint8(header.ICMPv6ProtocolNumber) {
		return 0, netip.Addr{}, false
	}
	icmp := b[header.IPv6MinimumSize:]
	kind = header.ICMPv6Type(icmp[0])
	if kind < header.ICMPv6RouterSolicit || kind > header.ICMPv6RedirectMsg {
		return 0, netip.Addr{}, false
	}
	if len(icmp) >= 24 {
		target = netip.AddrFrom16([16]byte(icmp[8:24]))
	}
	return kind, target, true
}

// neighborReply tells the sender of f that target is at m.
func neighborReply(f frame, m mac, target netip.Addr) []byte {
	asker := f.src()
	to := netip.AddrFrom16([16]byte(f.l3()[8:24]))
	icmp := make([]byte, 24, 32)
	icmp[0] = byte(header.ICMPv6NeighborAdvert)
	icmp[4] = 0x60 // solicited, override
	copy(icmp[8:], target.AsSlice())
	icmp = append(append(icmp, 2, 1), m[:]...) // the target's link-layer address
	return packet6(asker, m, target, to, uint8(header.ICMPv6ProtocolNumber), 255, icmp)
}

// packet6 is a whole frame with an ICMPv6 message, whose checksum it fills in.
func packet6(to, from mac, src, dst netip.Addr, proto, hops uint8, icmp []byte) []byte {
	b := make([]byte, vnetLen, vnetLen+ethLen+header.IPv6MinimumSize+len(icmp))
	b = append(append(append(b, to[:]...), from[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(icmp)))
	b = append(append(append(b, proto, hops), src.AsSlice()...), dst.AsSlice()...)
	icmp[2], icmp[3] = 0, 0
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, address(src), address(dst), uint16(len(icmp)))
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, sum))
	return append(b, icmp...)
}

// packet4 is a whole frame with an ICMP message, whose checksum it fills in.
func packet4(to, from mac, src, dst netip.Addr, icmp []byte) []byte {
	b := make([]byte, vnetLen+ethLen+header.IPv4MinimumSize, vnetLen+ethLen+header.IPv4MinimumSize+len(icmp))
	copy(b[vnetLen:], to[:])
	copy(b[vnetLen+6:], from[:])
	b[vnetLen+12] = 0x08
	ip := header.IPv4(b[vnetLen+ethLen:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + len(icmp)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: address(src), DstAddr: address(dst),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	icmp[2], icmp[3] = 0, 0
	binary.BigEndian.PutUint16(icmp[2:], ^checksum.Checksum(icmp, 0))
	return append(b, icmp...)
}

// honest tells whether a frame that a container sends says who it is: nobody
// speaks with another's address, or tells where another's address is.
func honest(f frame, ep *network.Endpoint) bool {
	if f.src() != macOf(ep) {
		return false
	}
	switch b := f.l3(); f.kind() {
	case typeIPv4:
		if len(b) < header.IPv4MinimumSize {
			return false
		}
		return owns(ep, netip.AddrFrom4([4]byte(b[12:16])))
	case typeARP:
		_, sha, spa, _, ok := f.arp()
		return ok && sha == macOf(ep) && (owns(ep, spa) || spa.IsUnspecified())
	case typeIPv6:
		if len(b) < header.IPv6MinimumSize {
			return false
		}
		src := netip.AddrFrom16([16]byte(b[8:24]))
		if kind, target, ok := f.neighbor(); ok {
			switch kind {
			case header.ICMPv6RouterAdvert, header.ICMPv6RedirectMsg:
				return false
			case header.ICMPv6NeighborAdvert:
				if !owns(ep, target) && !target.IsLinkLocalUnicast() {
					return false
				}
			}
		}
		return owns(ep, src) || src.IsLinkLocalUnicast() || src.IsUnspecified()
	}
	return false
}

// owns tells whether a is an address of ep.
func owns(ep *network.Endpoint, a netip.Addr) bool {
	if a == ep.IPv4.Addr() || a == ep.IPv6.Addr() {
		return a.IsValid()
	}
	for _, l := range ep.LinkLocal {
		if l == a {
			return true
		}
	}
	return false
}
