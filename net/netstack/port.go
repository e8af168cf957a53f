package netstack

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"coracle/net/names"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// port is one endpoint: a TAP in the container's namespace on one side, and on
// the other the monitors of the other containers and the way out.
type port struct {
	ep   *network.Endpoint
	tap  int
	wake [2]int // closed to end the readers
	book *names.Book
	wire *peers
	icc  bool // containers of the network may reach each other
	// self is the host, as containers reach it by the gateway's address.
	self func(v6 bool) (netip.Addr, bool)
	// outOnly: what comes is for the way out, and no other of the network is
	// spoken to from here (Out).
	outOnly bool
	refuse  func(netip.Addr) bool

	mu  sync.Mutex
	out *gateway // made when it is first needed
	mtu int

	wg     sync.WaitGroup
	closed atomic.Bool
}

// open takes a TAP, which is closed with the port.
func open(w *wiring, ep *network.Endpoint, tap *os.File) (*port, error) {
	dir := network.Dir(w.d.opt.Run, ep.NetworkID)
	defer tap.Close()
	fd, err := unix.FcntlInt(tap.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.SetNonblock(fd, true)
	// The kernel of the container leaves checksums out and segments whole, up to
	// 64 kB; since 2.6.27, and without it all is only slower.
	const csum, tso4, tso6 = 1, 2, 4
	ioctl(fd, unix.TUNSETOFFLOAD, csum|tso4|tso6)
	p := &port{ep: ep, tap: fd, mtu: w.mtu(ep), icc: w.icc(ep), self: w.d.self}
	if err := unix.Pipe2(p.wake[:], unix.O_CLOEXEC); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("pipe2", err)
	}
	if p.book, err = names.Open(dir); err == nil {
		p.wire, err = join(dir, macOf(ep))
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("network %s: %w", ep.NetworkName, err)
	}
	p.learn()
	p.book.OnChange(p.learn)
	p.wg.Go(p.fromTap)
	p.wg.Go(p.fromPeers)
	return p, nil
}

// learn tells the wire who is on the network now.
func (p *port) learn() {
	known := map[mac]bool{}
	for _, ep := range p.book.Endpoints() {
		if m := macOf(ep); m != macOf(p.ep) && len(ep.MAC) == len(m) {
			known[m] = true
		}
	}
	p.wire.know(known)
}

func (p *port) close() {
	if p.closed.Swap(true) {
		return
	}
	unix.Close(p.wake[1])
	if p.book != nil {
		p.book.Close()
	}
	p.wg.Wait()
	p.mu.Lock()
	out := p.out
	p.mu.Unlock()
	if out != nil {
		out.close()
	}
	if p.wire != nil {
		p.wire.close()
	}
	unix.Close(p.wake[0])
	unix.Close(p.tap)
}

// await waits until fd can be read; false: the port is being closed.
func (p *port) await(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(p.wake[0]), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if err != nil && err != unix.EINTR {
			return false
		}
		if fds[1].Revents != 0 || p.closed.Load() {
			return false
		}
		if err == nil {
			return true
		}
	}
}

func (p *port) fromTap() {
	buf := make([]byte, mostFrame)
	for {
		n, err := unix.Read(p.tap, buf)
		switch {
		case err == unix.EAGAIN:
			if !p.await(p.tap) {
				return
			}
		case err == unix.EINTR || err == unix.ENETDOWN: // a pair's far end was set down
		case err != nil: // EBADFD or EIO: the interface is gone, and the namespace with it
			return
		case n >= vnetLen+ethLen:
			p.take(buf[:n])
		}
	}
}

// take brings a frame of the container where it belongs.
func (p *port) take(b []byte) {
	f := frame(b[vnetLen:])
	if !honest(f, p.ep) {
		return
	}
	if p.outOnly {
		busy()
		if out := p.gateway(); out != nil {
			out.input(f)
		}
		return
	}
	switch f.kind() {
	case typeARP:
		p.askedARP(f)
		return
	case typeIPv6:
		if p.askedNeighbor(f) {
			return
		}
	}
	switch dst := f.dst(); {
	case dst == gatewayMAC:
		if out := p.gateway(); out != nil {
			out.input(f)
		}
	case !p.icc:
	case dst.group():
		p.wire.flood(b)
	default:
		p.wire.send(dst, b)
	}
}

// askedARP answers for the gateway and for the others of the network, from what
// is on disk: no container is asked, and none can lie.
func (p *port) askedARP(f frame) {
	op, sha, spa, tpa, _ := f.arp()
	if op != 1 || spa.IsUnspecified() || spa == tpa {
		return
	}
	if m, ok := p.where(tpa); ok {
		p.give(arpReply(sha, spa, m, tpa))
	}
}

func (p *port) askedNeighbor(f frame) bool {
	kind, target, ok := f.neighbor()
	if !ok || kind != 135 { // solicitation
		return false
	}
	if netip.AddrFrom16([16]byte(f.l3()[8:24])).IsUnspecified() {
		return !target.IsLinkLocalUnicast() // who looks whether its own address is taken
	}
	m, ok := p.where(target)
	if ok {
		p.give(neighborReply(f, m, target))
	}
	return ok
}

// where finds the hardware address of an address on the network.
func (p *port) where(a netip.Addr) (mac, bool) {
	if a == p.ep.Gateway4 || a == p.ep.Gateway6 {
		return gatewayMAC, a.IsValid()
	}
	ep, _ := p.book.Reverse(a)
	if ep == nil || ep.ContainerID == p.ep.ContainerID || !p.icc {
		return mac{}, false
	}
	return macOf(ep), true
}

// give gives a frame to the container. One that does not fit is lost.
func (p *port) give(b []byte) { unix.Write(p.tap, b) }

func (p *port) fromPeers() {
	buf := make([]byte, mostFrame)
	for {
		n, err := unix.Read(p.wire.sock, buf)
		switch {
		case err == unix.EAGAIN:
			if !p.await(p.wire.sock) {
				return
			}
		case err == unix.EINTR:
		case err != nil:
			return
		case n >= vnetLen+ethLen && p.icc:
			f := frame(buf[vnetLen:n])
			if dst := f.dst(); (dst == macOf(p.ep) || dst.group()) && p.wire.knows(f.src()) {
				p.give(buf[:n])
			}
		}
	}
}

// gateway is the way out, nil where the network has none.
func (p *port) gateway() *gateway {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil && !p.closed.Load() && (p.ep.Gateway4.IsValid() || p.ep.Gateway6.IsValid()) {
		out, err := newGateway(p)
		if err != nil {
			return nil
		}
		p.out = out
	}
	return p.out
}

func ioctl(fd int, req uint, arg uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), arg)
	if errno != 0 {
		return errno
	}
	return nil
}

// writev writes a frame in pieces.
func writev(fd int, pieces ...[]byte) error {
	var room [8]unix.Iovec
	iov := room[:0]
	for _, b := range pieces {
		if len(b) == 0 {
			continue
		}
		v := unix.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		iov = append(iov, v)
	}
	if len(iov) == 0 {
		return nil
	}
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	runtime.KeepAlive(pieces)
	if errno != 0 {
		return errno
	}
	return nil
}
