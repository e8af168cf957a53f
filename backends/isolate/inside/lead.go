package inside

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"coracle/backends/isolate"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// sockets opens them all and adds their descriptors to fds.
func sockets(list []isolate.NetSocket, fds []int) ([]int, error) {
	var led []way
	first := len(fds)
	for _, s := range list {
		at, err := netip.ParseAddrPort(s.Addr)
		if err != nil {
			return fds, err
		}
		want := at
		if s.Led && at.Addr().Is4() {
			want = netip.AddrPortFrom(at.Addr(), 0)
		}
		fd, err := socket(s.Network, want)
		if err != nil {
			return fds, fmt.Errorf("listen on %s/%s: %w", s.Addr, s.Network, err)
		}
		fds = append(fds, fd)
		if want != at {
			led = append(led, way{s.Network, at, port(fd)})
		}
	}
	if len(led) == 0 || lead(led) == nil {
		return fds, nil
	}
	for _, fd := range fds[first:] {
		unix.Close(fd)
	}
	plain := slices.Clone(list)
	for i := range plain {
		plain[i].Led = false
	}
	return sockets(plain, fds[:first])
}

func port(fd int) uint16 {
	if sa, err := unix.Getsockname(fd); err == nil {
		if sa4, ok := sa.(*unix.SockaddrInet4); ok {
			return uint16(sa4.Port)
		}
	}
	return 0
}

// way leads what is for a place of the namespace to another port there.
type way struct {
	network string
	from    netip.AddrPort
	to      uint16
}

// lead has nf_tables write one port for the other into what is sent, and back
// into the answers. Not by translation as Docker's (REDIRECT): that would have
// the kernel follow each connection of the container. It needs what writes into
// packets, Linux 4.5.
func lead(list []way) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "coracle"})
	chain := c.AddChain(&nftables.Chain{
		Name: "names", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityMangle,
	})
	for _, w := range list {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: w.rewrite(false)})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: w.rewrite(true)})
	}
	return c.Flush()
}

// rewrite is the rule for what goes to the place, or with back for what comes
// from it.
func (w way) rewrite(back bool) []expr.Any {
	proto, sum := byte(unix.IPPROTO_TCP), uint32(16) // where the checksum is
	if w.network == "udp" {
		proto, sum = unix.IPPROTO_UDP, 6
	}
	addr, at := uint32(16), uint32(2) // the destination's address and port
	is, becomes := w.from.Port(), w.to
	if back {
		addr, at = 12, 0
		is, becomes = becomes, is
	}
	be := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: addr, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: w.from.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be(is)},
		&expr.Immediate{Register: 1, Data: be(becomes)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: sum,
		},
	}
}
