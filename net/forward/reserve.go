package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"coracle/internal/sys"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

// spare are descriptors that are left for everything but published ports.
const spare = 64

// tries bounds the search for a port that is free for both families.
const tries = 64

// Reserve binds all ports of list, or none. What it returns first is list with
// the host's ports that were chosen; a range without any is returned port by
// port. TCP ports listen at once, so that clients wait and are not refused while
// the container starts.
func Reserve(list []network.Publish) ([]network.Publish, *Reserved, error) {
	if err := enough(list); err != nil {
		return nil, nil, err
	}
	r := new(Reserved)
	var out []network.Publish
	for _, p := range list {
		for _, p := range single(p) {
			got, err := r.take(p)
			if err != nil {
				r.Close()
				return nil, nil, err
			}
			out = append(out, got)
		}
	}
	return out, r, nil
}

// enough asks whether there are descriptors for all.
func enough(list []network.Publish) error {
	need := 0
	for _, p := range list {
		n := max(int(p.Count), 1)
		if !p.HostIP.IsValid() {
			n *= 2
		}
		need += n
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) != nil || uint64(need+spare) <= lim.Cur {
		return nil
	}
	if uint64(need+spare) <= lim.Max && sys.Setrlimit(unix.RLIMIT_NOFILE, lim.Max, lim.Max) == nil {
		return nil
	}
	return fmt.Errorf("publish ports: %d sockets are needed, and this process may have %d open files: %w (ulimit -n)", need, lim.Max, unix.EMFILE)
}

// single takes a range without host ports apart: they need not be neighbours.
func single(p network.Publish) []network.Publish {
	if p.Count == 0 {
		p.Count = 1
	}
	if p.Host != 0 || p.Count == 1 {
		return []network.Publish{p}
	}
	var out []network.Publish
	for i := range p.Count {
		one := p
		one.Port, one.Count = p.Port+i, 1
		out = append(out, one)
	}
	return out
}

// take binds one range, or chooses one port.
func (r *Reserved) take(p network.Publish) (network.Publish, error) {
	switch {
	case p.Proto != "tcp" && p.Proto != "udp":
		return p, fmt.Errorf("publish %d/%s: userspace forwarding knows tcp and udp only", p.Port, p.Proto)
	case int(p.Host)+int(p.Count) > 1<<16 || int(p.Port)+int(p.Count) > 1<<16:
		return p, fmt.Errorf("publish %d/%s: %d ports from there on are more than there are", p.Port, p.Proto, p.Count)
	case p.Host == 0:
		return r.choose(p)
	}
	last := p.Host
	if p.Count == 1 && p.Last > p.Host {
		last = p.Last
	}
	var err error
	for host := int(p.Host); host <= int(last); host++ {
		got := p
		got.Host = uint16(host)
		if err = r.bindAll(got); err == nil {
			got.Last = 0
			return got, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return p, err
}

// choose has the kernel pick a port, and takes the same for the other family.
func (r *Reserved) choose(p network.Publish) (network.Publish, error) {
	addr := p.HostIP
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
	}
	for try := 0; ; try++ {
		fd, err := bind(p.Proto, netip.AddrPortFrom(addr, 0))
		if err != nil {
			return p, &TakenError{p, netip.AddrPortFrom(addr, 0), err}
		}
		got := p
		got.Host, err = boundTo(fd)
		if err == nil && !p.HostIP.IsValid() {
			var six int
			at := netip.AddrPortFrom(netip.IPv6Unspecified(), got.Host)
			if six, err = bind(p.Proto, at); err == nil {
				r.ports = append(r.ports, &port{six, p.Proto, at, p.Port})
			} else if noIPv6(err) {
				err = nil
			}
		}
		if err != nil {
			unix.Close(fd)
			if try < tries && errors.Is(err, unix.EADDRINUSE) {
				continue
			}
			return p, &TakenError{p, netip.AddrPortFrom(addr, got.Host), err}
		}
		r.ports = append(r.ports, &port{fd, p.Proto, netip.AddrPortFrom(addr, got.Host), p.Port})
		return got, nil
	}
}

// bindAll binds a range for its families, or nothing of it.
func (r *Reserved) bindAll(p network.Publish) error {
	had := len(r.ports)
	addrs := []netip.Addr{p.HostIP}
	if !p.HostIP.IsValid() {
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for i := range p.Count {
		for _, a := range addrs {
			at := netip.AddrPortFrom(a, p.Host+i)
			fd, err := bind(p.Proto, at)
			if err != nil && noIPv6(err) && !p.HostIP.IsValid() && a.Is6() {
				continue
			}
			if err != nil {
				for _, q := range r.ports[had:] {
					unix.Close(q.fd)
				}
				r.ports = r.ports[:had]
				return &TakenError{p, at, err}
			}
			r.ports = append(r.ports, &port{fd, p.Proto, at, p.Port + i})
		}
	}
	return nil
}

// noIPv6 tells that the host has none, or has it switched off.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// socket is close-on-exec and does not block.
func socket(family, kind int) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}

func family(a netip.Addr) int {
	if a.Is4() || a.Is4In6() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func kind(proto string) int {
	if proto == "udp" {
		return unix.SOCK_DGRAM
	}
	return unix.SOCK_STREAM
}

func bind(proto string, at netip.AddrPort) (int, error) {
	fam := family(at.Addr())
	fd, err := socket(fam, kind(proto))
	if err != nil {
		return -1, err
	}
	if fam == unix.AF_INET6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if proto == "tcp" {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		// Connections inherit these.
		setStream(fd)
	} else {
		// Which of our addresses was meant, to answer from it.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if fam == unix.AF_INET6 {
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	}
	if err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(at))); err == nil && proto == "tcp" {
		err = os.NewSyscallError("listen", unix.Listen(fd, 4096))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func setStream(fd int) {
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
}

// unpaced is for a TCP socket whose other end is on this machine. There congestion
// control has nothing to find out, and one that paces what is sent, as BBR, which many
// hosts have for what goes out to the internet, costs a third of the throughput (1.9 in
// place of 3.0 GB/s, measured with two processors). Reno is in every kernel, and
// everybody may have it (ip-sysctl, tcp_allowed_congestion_control).
func unpaced(fd int) {
	unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
}

// Near is [unpaced], if the peer of a connection is on this machine.
func Near(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			if sameMachine(int(fd), t.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()) {
				unpaced(int(fd))
			}
		})
	}
}

// sameMachine tells whether the peer of a connected socket is on this machine.
func sameMachine(fd int, peer netip.Addr) bool {
	if peer.IsLoopback() {
		return true
	}
	own, err := unix.Getsockname(fd)
	return err == nil && addrPort(own).Addr() == peer
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if family(a.Addr()) == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if z := a.Addr().Zone(); z != "" {
		sa.ZoneId = zone(z)
	}
	return sa
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func boundTo(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return addrPort(sa).Port(), nil
}
