package netstack

import (
	"io"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"

	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// Outward is what the way out of a container needs whose network is not ours.
type Outward struct {
	Endpoint *network.Endpoint
	MTU      int
	// Wire gives frames of the container that are for others than its network, and
	// takes frames for the container; each has a struct virtio_net_hdr before it.
	Wire *os.File
	// Refuse says what the container may not reach by the host's sockets; it may
	// be nil.
	Refuse func(netip.Addr) bool
}

// Out carries what a container sends out of its network, as this rung's gateway
// does: for bridges that no packet filter translates addresses for. It takes
// o.Wire, and ends when it is closed.
func Out(o Outward) (io.Closer, error) {
	defer o.Wire.Close()
	fd, err := unix.FcntlInt(o.Wire.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	unix.SetNonblock(fd, true)
	p := &port{ep: o.Endpoint, tap: fd, mtu: o.MTU, self: hostAddr, outOnly: true, refuse: o.Refuse}
	if err := unix.Pipe2(p.wake[:], unix.O_CLOEXEC); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("pipe2", err)
	}
	p.wg.Go(p.fromTap)
	return closer{p}, nil
}

type closer struct{ p *port }

func (c closer) Close() error {
	c.p.close()
	return nil
}

// busy: a monitor's collector is set to keep its heap small; where frames are
// carried it would run all the time.
var busy = sync.OnceFunc(func() { debug.SetGCPercent(100) })
