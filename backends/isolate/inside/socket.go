package inside

import (
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"coracle/backends/isolate"

	"golang.org/x/sys/unix"
)

// tap makes a TAP device, which goes when its descriptor is closed.
func tap(t isolate.NetTap) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	// struct ifreq: a name, and flags behind it.
	req := make([]byte, 40)
	copy(req[:unix.IFNAMSIZ-1], t.Name)
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if t.VNetHdr {
		flags |= unix.IFF_VNET_HDR
	}
	*(*uint16)(unsafe.Pointer(&req[unix.IFNAMSIZ])) = flags
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req[0])))
	runtime.KeepAlive(req)
	if errno != 0 {
		unix.Close(fd)
		return -1, os.NewSyscallError("ioctl TUNSETIFF", errno)
	}
	return fd, nil
}

// backlog of a listening socket; the kernel has its own bound.
const backlog = 128

// socket opens, binds and listens. Others may bind the same port on all
// addresses beside it where they allow it too: a name server in the container.
func socket(network string, at netip.AddrPort) (fd int, err error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if at.Addr().Is6() {
		family = unix.AF_INET6
	} else {
		sa = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // since 3.9
	if err = unix.Bind(fd, sa); err != nil {
		return fd, os.NewSyscallError("bind", err)
	}
	if kind == unix.SOCK_STREAM {
		if err = unix.Listen(fd, backlog); err != nil {
			return fd, os.NewSyscallError("listen", err)
		}
	}
	return fd, nil
}
