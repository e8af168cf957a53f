package inside

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// wire makes a TAP, or, where /dev/net/tun is not there or not for us, a pair.
func wire(t isolate.NetTap) (int, error) {
	var noTap error
	if !t.Pair {
		fd, err := tap(t)
		if err == nil {
			return fd, nil
		}
		noTap = fmt.Errorf("make TAP device %s: %w", t.Name, err)
	}
	fd, err := pair(t)
	if err != nil {
		return -1, errors.Join(noTap, fmt.Errorf("make veth pair %s: %w", t.Name, err))
	}
	return fd, nil
}

// socketBuffer is asked for in each direction, in bytes; the kernel bounds it
// (net.core.rmem_max) for those without a right on the host.
const socketBuffer = 4 << 20

// pair makes a veth pair and opens a packet socket on the far end, which is in a
// network namespace that nothing but that socket holds: the container neither sees
// nor touches it, and closing the socket takes both ends away, as with a TAP.
func pair(t isolate.NetTap) (fd int, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	defer h.Close()
	far := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: t.Name}
	if far.Name = "w-" + t.Name; len(far.Name) >= unix.IFNAMSIZ {
		far.Name = far.Name[:unix.IFNAMSIZ-1]
	}
	if err := h.LinkAdd(far); err != nil {
		return -1, err
	}
	type result struct {
		fd  int
		err error
	}
	there, moved, done := make(chan result), make(chan error), make(chan result)
	// The thread, and with it its hold on the namespace, ends with the function.
	go sys.OnThread(func() {
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
		there <- result{unix.Gettid(), err}
		if err != nil || <-moved != nil {
			return
		}
		fd, err := farEnd(far.Name, t)
		done <- result{fd, err}
	})
	thread := <-there
	if thread.err != nil {
		h.LinkDel(far)
		return -1, thread.err
	}
	// By the thread's ID: IFLA_NET_NS_PID is older than the files in /proc.
	err = h.LinkSetNsPid(far, thread.fd)
	moved <- err
	if err != nil {
		h.LinkDel(far)
		return -1, err
	}
	r := <-done // where it failed, the namespace has gone, and with it the pair
	return r.fd, r.err
}

// farEnd sets up the far end, which has no address and answers no ARP, in the
// calling thread's namespace.
func farEnd(name string, t isolate.NetTap) (int, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return -1, err
	}
	// Since 3.17; before, it speaks for itself now and then, and nobody listens.
	const noAddress = 1
	h.LinkSetIP6AddrGenMode(link, noAddress)
	// The largest that either end may be set to; what is longer than this end's
	// would not go through.
	for _, step := range []func() error{
		func() error { return h.LinkSetMTU(link, 65535) },
		func() error { return h.LinkSetARPOff(link) },
		func() error { return h.LinkSetUp(link) },
	} {
		if err := step(); err != nil {
			return -1, err
		}
	}
	return PacketSocket(link.Attrs().Index, t.VNetHdr, nil)
}

// PacketSocket opens a packet socket on the interface of an index: what comes in
// there, whole frames, that filter lets through; what is written goes out. vnet
// asks for a struct virtio_net_hdr before each frame.
func PacketSocket(index int, vnet bool, filter []bpf.RawInstruction) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if vnet {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt PACKET_VNET_HDR", err)
		}
	}
	// Since 4.20; before, the reader meets what the far end itself sends.
	unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	for opt, force := range map[int]int{unix.SO_RCVBUF: unix.SO_RCVBUFFORCE, unix.SO_SNDBUF: unix.SO_SNDBUFFORCE} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBuffer) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, socketBuffer)
		}
	}
	if len(filter) > 0 {
		prog := make([]unix.SockFilter, len(filter))
		for i, f := range filter {
			prog[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
		}
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
		}
	}
	every := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL}) // in network byte order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: index}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}
