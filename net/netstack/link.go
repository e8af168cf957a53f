package netstack

import (
	"encoding/binary"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the stack's interface: what it sends goes to the TAP, and frames for
// the gateway come by deliver.
type link struct {
	p   *port
	mtu uint32

	mu sync.RWMutex
	up stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

func (l *link) MTU() uint32                             { return l.mtu }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return ethLen }
func (l *link) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(gatewayMAC[:]) }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Wait()                                   {}
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
func (l *link) GSOMaxSize() uint32                      { return 1<<16 - 1 - header.TCPHeaderMaximumSize }
func (l *link) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Capabilities: a container's kernel leaves out checksums, and what it writes
// to a TAP was never on a wire.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	l.up = d
	l.mu.Unlock()
}

func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.up != nil
}

func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(ethLen)).Encode(&header.EthernetFields{
		SrcAddr: l.LinkAddress(), DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(ethLen)
	return ok
}

// mostHeaders is room for the headers of a frame: Ethernet's, IPv4's or IPv6's, and
// TCP's, with options.
const mostHeaders = ethLen + header.IPv4MaximumHeaderSize + header.TCPHeaderMaximumSize

// deliver gives a frame to the stack, in a copy.
func (l *link) deliver(f frame) {
	l.mu.RLock()
	up := l.up
	l.mu.RUnlock()
	if up == nil {
		return
	}
	// The headers apart: the stack, when it looks at one that others look at too,
	// makes a copy of the whole piece that it is in.
	head := min(len(f), mostHeaders)
	payload := buffer.MakeWithData(f[:head])
	if head < len(f) {
		payload.Append(buffer.NewViewWithData(f[head:]))
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	defer pkt.DecRef()
	if l.ParseHeader(pkt) {
		up.DeliverNetworkPacket(tcpip.NetworkProtocolNumber(f.kind()), pkt)
	}
}

// WritePackets gives frames to the container.
func (l *link) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range list.AsSlice() {
		var vnet [vnetLen]byte
		offload(&vnet, pkt)
		pieces := append(make([][]byte, 0, 8), vnet[:])
		if writev(l.p.tap, append(pieces, pkt.AsSlices()...)...) != nil {
			// As a wire that is full: who needs it sends it again.
			continue
		}
		n++
	}
	return n, nil
}

// offload fills in a struct virtio_net_hdr: the fields flags, gso_type, hdr_len,
// gso_size, csum_start and csum_offset, in the machine's byte order.
func offload(vnet *[vnetLen]byte, pkt *stack.PacketBuffer) {
	gso := pkt.GSOOptions
	if gso.Type == stack.GSONone {
		return
	}
	const needsCsum, tcp4, tcp6 = 1, 1, 4
	order := binary.NativeEndian
	order.PutUint16(vnet[2:], uint16(pkt.HeaderSize()))
	if gso.NeedsCsum {
		vnet[0] = needsCsum
		order.PutUint16(vnet[6:], ethLen+gso.L3HdrLen)
		order.PutUint16(vnet[8:], gso.CsumOffset)
	}
	if pkt.Data().Size() > int(gso.MSS) {
		vnet[1] = tcp4
		if gso.Type == stack.GSOTCPv6 {
			vnet[1] = tcp6
		}
		order.PutUint16(vnet[4:], gso.MSS)
	}
}
