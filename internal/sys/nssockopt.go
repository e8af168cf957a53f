//go:build linux && !386

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Getsockopt reads a socket option into b, which the kernel reads first, and
// gives the length that it wrote.
func Getsockopt(fd, level, name int, b []byte) (int, error) {
	size := uint32(len(b))
	_, _, errno := syscall.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	runtime.KeepAlive(b)
	return int(size), sysErr("getsockopt", errno)
}
