package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Getsockopt reads a socket option into b, which the kernel reads first, and
// gives the length that it wrote. Before 4.3 there is only socketcall(2) here.
func Getsockopt(fd, level, name int, b []byte) (int, error) {
	size := uint32(len(b))
	args := [5]uintptr{uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size))}
	const sysGetsockopt = 15 // linux/net.h
	_, _, errno := syscall.Syscall(unix.SYS_SOCKETCALL, sysGetsockopt, uintptr(unsafe.Pointer(&args)), 0)
	runtime.KeepAlive(b)
	return int(size), sysErr("getsockopt", errno)
}
