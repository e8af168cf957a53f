package bridge

import (
	"fmt"
	"net/netip"
	"os"

	"coracle/backends/isolate/inside"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wayOut begins to carry what an endpoint sends out of its network, where no
// packet filter translates its address: by a packet socket at the host's end of
// its pair, which sees a frame before anything of the host's does, and so before
// the filter there drops it (hold). The host's own stack is never to forward it:
// with no translation it would send it out under the container's address.
func (w *wiring) wayOut(n *network.Network, ep *network.Endpoint, link netlink.Link) error {
	if w.d.opt.Firewall != nil || n.Internal || w.d.opt.Out == nil {
		return nil
	}
	writeConf("ipv4", ep.Outer, "forwarding", "0")
	writeConf("ipv4", n.Interface, "forwarding", "0")
	gate, err := w.h.LinkByName(n.Interface)
	if err != nil {
		return err
	}
	prog, err := bpf.Assemble(outward(gate.Attrs().HardwareAddr, n.IPAM.Config))
	if err != nil {
		return err
	}
	fd, err := inside.PacketSocket(link.Attrs().Index, true, prog)
	if err != nil {
		w.s.Warn("network " + n.Name + ": no way out of the network: " + err.Error())
		return nil
	}
	out, err := w.d.opt.Out(Outward{Network: n, Endpoint: ep, MTU: mtu(n), Wire: os.NewFile(uintptr(fd), ep.Outer)})
	if err != nil {
		return fmt.Errorf("network %s: the way out: %w", n.Name, err)
	}
	w.outs[ep.ID] = out
	return nil
}

// noWayOut ends it.
func (w *wiring) noWayOut(ep *network.Endpoint) {
	if out := w.outs[ep.ID]; out != nil {
		out.Close()
		delete(w.outs, ep.ID)
	}
}

// outward is a socket filter: it keeps frames for the gateway's hardware address
// whose destination is none of the network's, nor a group's.
func outward(gate []byte, subnets []dnetwork.IPAMConfig) []bpf.Instruction {
	const whole = 1 << 18
	if len(gate) != 6 {
		return []bpf.Instruction{bpf.RetConstant{Val: 0}}
	}
	prog := unlessMAC(0, gate, 0)
	for _, c := range subnets {
		a := c.Subnet.Addr()
		if !a.IsValid() {
			continue
		}
		to := source(a) + uint32(a.BitLen()/8)
		prog = append(prog, block(0, family(a), in(c.Subnet, to))...)
	}
	prog = append(prog, block(0, kind(unix.ETH_P_IP), in(netip.MustParsePrefix("224.0.0.0/4"), offIPv4+4))...)
	prog = append(prog, block(0, kind(unix.ETH_P_IPV6), in(netip.MustParsePrefix("ff00::/8"), offIPv6+16))...)
	// What is of this link alone.
	prog = append(prog, block(0, kind(unix.ETH_P_IPV6), in(netip.MustParsePrefix("fe80::/10"), offIPv6+16))...)
	prog = append(prog, block(whole, kind(unix.ETH_P_IP))...)
	prog = append(prog, block(whole, kind(unix.ETH_P_IPV6))...)
	return append(prog, bpf.RetConstant{Val: 0})
}
