package isolate

import (
	"os"
	"syscall"
)

// Net is what is done inside a container's network namespace, in this order:
// taps, links, addresses, routes, sockets. It is done by a process that is in
// that namespace, so that no setns(2) is needed, which kernels before 3.0 lack.
type Net struct {
	// Taps are made; their descriptors are handed out as "tap:NAME".
	Taps  []NetTap
	Links []NetLink
	// Gone are interfaces that are deleted.
	Gone []string
	// Routes beyond those of the links' addresses.
	Routes []NetRoute
	// NoRoutes are default routes that go: "4" and "6".
	NoRoutes []string
	// Sockets are opened; their descriptors are handed out by their names.
	Sockets []NetSocket
	// Sysctls are written below /proc/sys/net, where they are there: what is
	// not is left out ("ipv6/conf/all/disable_ipv6").
	Sysctls []NetSysctl
}

// Empty tells whether there is nothing to do.
func (n *Net) Empty() bool {
	return n == nil || len(n.Taps)+len(n.Links)+len(n.Gone)+len(n.Routes)+len(n.NoRoutes)+len(n.Sockets)+len(n.Sysctls) == 0
}

// NetFiles makes files of the descriptors that were handed out.
func NetFiles(names []string, fds []int) map[string]*os.File {
	files := make(map[string]*os.File, len(fds))
	for i, fd := range fds {
		// Non-blocking, so that the file joins Go's poller and Close ends a Read.
		syscall.SetNonblock(fd, true)
		files[names[i]] = os.NewFile(uintptr(fd), names[i])
	}
	return files
}

// NetTap is a TAP device; where there is none to be had, a pair of interfaces and
// a packet socket on the far one, in a namespace that it alone holds, whose frames
// are the same.
type NetTap struct {
	Name string
	// Pair asks for the pair even where there are TAPs.
	Pair bool
	// VNetHdr asks for a struct virtio_net_hdr before each packet.
	VNetHdr bool
}

// NetLink is an interface that is configured and brought up.
type NetLink struct {
	// Name is what it is called; with Was it was called that before.
	Name, Was string
	MAC       string // "02:42:ac:11:00:02"; empty: as it is
	MTU       int    // 0: as it is
	Addrs     []string
}

// NetRoute leads to Dst ("default" is "0.0.0.0/0" or "::/0") by Gateway, or,
// without one, straight by the interface Link.
type NetRoute struct {
	Dst, Gateway, Link string
}

// NetSocket is a socket that is bound, and listening where it is of a stream.
type NetSocket struct {
	Name    string // "dns-udp"
	Network string // "udp" or "tcp"
	Addr    string // "127.0.0.11:53"
	// Led leaves the port of Addr to the container: the socket has another one, to
	// which the namespace's own packet filter leads what is for Addr. Where it has
	// none, the socket is bound to Addr itself.
	Led bool
}

// NetSysctl is one file below /proc/sys/net.
type NetSysctl struct {
	Path, Value string
	Try         bool // it does without
}
