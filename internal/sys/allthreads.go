package sys

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Setresuid sets the real, effective and saved user ID of all threads. The
// threads without PR_SET_KEEPCAPS lose their capabilities by it.
func Setresuid(uid int) error {
	return os.NewSyscallError("setresuid", syscall.Setresuid(uid, uid, uid))
}

// Setresgid sets the real, effective and saved group ID of all threads.
func Setresgid(gid int) error {
	return os.NewSyscallError("setresgid", syscall.Setresgid(gid, gid, gid))
}

// Setgroups sets the supplementary groups of all threads.
func Setgroups(gids []uint32) error {
	list := make([]int, len(gids))
	for i, gid := range gids {
		list[i] = int(gid)
	}
	return os.NewSyscallError("setgroups", syscall.Setgroups(list))
}

// ShareCaps gives all threads the capabilities of the calling one, which must
// have no more than any of them. ENOTSUP in a program with cgo.
func ShareCaps() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data)), 0)
	return sysErr("capset", errno)
}
