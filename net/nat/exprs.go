package nat

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// statusDNAT is IPS_DST_NAT (include/uapi/linux/netfilter/nf_conntrack_common.h).
const statusDNAT = 1 << 5

// typeLocal is RTN_LOCAL (rtnetlink(7)).
const typeLocal = 2

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func native32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func match(key expr.MetaKey, name string) []expr.Any { return device(key, name, expr.CmpOpEq) }

func differs(key expr.MetaKey, name string) []expr.Any { return device(key, name, expr.CmpOpNeq) }

func device(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// bits matches where any of mask is set.
func bits(key expr.CtKey, mask uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: key},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native32(mask), Xor: native32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native32(0)},
	}
}

// address matches the source, or destination, against a prefix.
func address(p netip.Prefix, source bool) []expr.Any {
	at, size := uint32(16), uint32(4)
	if source {
		at = 12
	}
	if p.Addr().Is6() {
		at, size = 24, 16
		if source {
			at = 8
		}
	}
	return within(at, size, p)
}

func within(at, size uint32, p netip.Prefix) []expr.Any {
	out := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: size}}
	if p.Bits() < p.Addr().BitLen() {
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask(p.Bits(), int(size)), Xor: make([]byte, size)})
	}
	return append(out, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()})
}

func mask(bits, size int) []byte {
	m := make([]byte, size)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

func protocol(name string) []expr.Any {
	n := byte(unix.IPPROTO_TCP)
	switch name {
	case "udp":
		n = unix.IPPROTO_UDP
	case "sctp":
		n = unix.IPPROTO_SCTP
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}},
	}
}

// portRange matches the destination port.
func portRange(first, count uint16) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	if count <= 1 {
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(first)}}
	}
	return []expr.Any{
		load, &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: be16(first)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: be16(first + count - 1)},
	}
}

// local matches what is sent to one of the host's own addresses, by its routes: since
// Linux 4.10, where the module nft_fib_ipv4 or nft_fib_ipv6 is.
func local(bool) [][]expr.Any {
	return [][]expr.Any{{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native32(typeLocal)},
	}}
}

// known is local for a kernel without that: the addresses that the host has now. What
// comes to later ones is carried by the monitor's sockets.
func known(v6 bool) (out [][]expr.Any) {
	list, _ := net.InterfaceAddrs()
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if at := p.Addr(); err == nil && at.Is6() == v6 && !at.IsLoopback() && !at.IsLinkLocalUnicast() && len(out) < mostKnown {
			out = append(out, address(netip.PrefixFrom(at, at.BitLen()), false))
		}
	}
	return out
}

// mostKnown bounds the rules of a port.
const mostKnown = 64

func notLoopback(v6 bool) []expr.Any {
	if v6 {
		one := netip.IPv6Loopback()
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: one.AsSlice()},
		}
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{127}},
	}
}
