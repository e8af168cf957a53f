package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// hold drops what comes out of an endpoint's interface and claims to be of
// another on the network: by a filter at the ingress of the host's end, a program
// in the language of socket filters, which goes with the interface and needs no
// packet filter. Sources outside of the network pass: a container may be a router.
//
// With closed, nothing passes that is for another network: where there is no
// packet filter, that keeps networks apart.
func hold(h *netlink.Handle, n *network.Network, ep *network.Endpoint, closed bool) error {
	link, err := h.LinkByName(ep.Outer)
	if err != nil {
		return err
	}
	prog, err := bpf.Assemble(guard(n.IPAM.Config, ep, closed))
	if err != nil {
		return err
	}
	index := link.Attrs().Index
	err = h.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}})
	if err == nil {
		err = attach(index, prog)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return errNoFilter
	}
	return err
}

var errNoFilter = errors.New("this kernel has no filters at interfaces (CONFIG_NET_CLS_BPF)")

// Attributes of the classifier "bpf" (include/uapi/linux/pkt_cls.h).
const (
	bpfOpsLen = 4
	bpfOps    = 5
	bpfFlags  = 8
	bpfDirect = 1 // the program's result is the verdict
)

// attach is RTM_NEWTFILTER with a program of the old language, which the library
// knows only as a descriptor of the new one.
func attach(index int, prog []bpf.RawInstruction) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(index), Parent: netlink.MakeHandle(0xffff, 0),
		Info: netlink.MakeHandle(1, nl.Swap16(unix.ETH_P_ALL)),
	})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	var ops []byte
	for _, i := range prog {
		ops = binary.NativeEndian.AppendUint16(ops, i.Op)
		ops = append(ops, i.Jt, i.Jf)
		ops = binary.NativeEndian.AppendUint32(ops, i.K)
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(bpfOpsLen, binary.NativeEndian.AppendUint16(nil, uint16(len(prog))))
	options.AddRtAttr(bpfOps, ops)
	options.AddRtAttr(bpfFlags, binary.NativeEndian.AppendUint32(nil, bpfDirect))
	req.AddData(options)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("filter what comes out of an interface: %w", err)
	}
	return nil
}

// Verdicts, and offsets from the frame's beginning on.
const (
	pass, drop = 0, 2 // TC_ACT_OK, TC_ACT_SHOT

	offSource = 6  // of the frame
	offType   = 12 // of the frame
	offARP    = 14 + 14
	offIPv4   = 14 + 12 // the source; the destination follows
	offIPv6   = 14 + 8
)

// guard is the program: the first block that matches decides.
func guard(subnets []dnetwork.IPAMConfig, ep *network.Endpoint, closed bool) []bpf.Instruction {
	prog := unlessMAC(offSource, ep.MAC, drop)
	for _, a := range append([]netip.Addr{ep.IPv4.Addr(), ep.IPv6.Addr()}, ep.LinkLocal...) {
		if !a.IsValid() {
			continue
		}
		own := netip.PrefixFrom(a, a.BitLen())
		if a.Is4() {
			prog = append(prog, block(pass, kind(unix.ETH_P_ARP), in(own, offARP))...)
		}
		if !closed {
			prog = append(prog, block(pass, family(a), in(own, source(a)))...)
			continue
		}
		to := source(a) + uint32(a.BitLen()/8)
		if a.Is6() {
			// Neighbours are asked for at addresses of groups.
			prog = append(prog, block(pass, family(a), in(own, source(a)), in(netip.MustParsePrefix("ff02::/16"), to))...)
		}
		for _, c := range subnets {
			if c.Subnet.Addr().Is6() == a.Is6() {
				prog = append(prog, block(pass, family(a), in(own, source(a)), in(c.Subnet, to))...)
			}
		}
	}
	for _, c := range subnets {
		a := c.Subnet.Addr()
		prog = append(prog, block(drop, family(a), in(c.Subnet, source(a)))...)
		if a.Is4() {
			prog = append(prog, block(drop, kind(unix.ETH_P_ARP), in(c.Subnet, offARP))...)
		}
	}
	if closed {
		prog = append(prog, block(drop, kind(unix.ETH_P_IP))...)
		prog = append(prog, block(pass, kind(unix.ETH_P_IPV6), in(netip.MustParsePrefix("fe80::/10"), offIPv6))...)
		prog = append(prog, block(drop, kind(unix.ETH_P_IPV6))...)
	}
	return append(prog, bpf.RetConstant{Val: pass})
}

// test compares what is at an offset, under a mask (0: all of it).
type test struct {
	at, size, mask, want uint32
}

func (t test) load() []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: t.at, Size: int(t.size)}}
	if t.mask != 0 {
		out = append(out, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: t.mask})
	}
	return out
}

func unless(t test, verdict uint32) []bpf.Instruction {
	return append(t.load(), bpf.JumpIf{Cond: bpf.JumpEqual, Val: t.want, SkipTrue: 1}, bpf.RetConstant{Val: verdict})
}

// unlessMAC gives a verdict where a hardware address is another.
func unlessMAC(at uint32, mac []byte, verdict uint32) []bpf.Instruction {
	return append(unless(test{at, 4, 0, binary.BigEndian.Uint32(mac[:4])}, verdict),
		unless(test{at + 4, 2, 0, uint32(binary.BigEndian.Uint16(mac[4:]))}, verdict)...)
}

// block gives a verdict where all tests hold.
func block(verdict uint32, tests ...[]test) []bpf.Instruction {
	out := []bpf.Instruction{bpf.RetConstant{Val: verdict}}
	for _, t := range slices.Backward(slices.Concat(tests...)) {
		one := append(t.load(), bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: t.want, SkipTrue: uint8(len(out))})
		out = append(one, out...)
	}
	return out
}

func kind(protocol uint32) []test { return []test{{offType, 2, 0, protocol}} }

func family(a netip.Addr) []test {
	if a.Is6() {
		return kind(unix.ETH_P_IPV6)
	}
	return kind(unix.ETH_P_IP)
}

func source(a netip.Addr) uint32 {
	if a.Is6() {
		return offIPv6
	}
	return offIPv4
}

func in(p netip.Prefix, at uint32) []test {
	raw := p.Addr().AsSlice()
	var out []test
	for bits := p.Bits(); bits > 0; bits -= 32 {
		mask := uint32(0xffffffff)
		if bits < 32 {
			mask <<= 32 - bits
		}
		out = append(out, test{at, 4, mask, binary.BigEndian.Uint32(raw) & mask})
		raw, at = raw[4:], at+4
	}
	return out
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
