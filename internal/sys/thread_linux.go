package sys

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OnThread runs f on an operating system thread that ends with it, and with it
// what f did to the thread: namespaces, filters, capabilities. It is never the
// main thread, which cannot end, and whose namespaces /proc/self/ns shows.
func OnThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			defer close(done)
			f() // the thread ends, as it is never unlocked
			return
		}
		// As long as we hold the main thread nobody else gets it.
		OnThread(f)
		runtime.UnlockOSThread()
		close(done)
	}()
	<-done
}

// InNetwork runs f by such a thread in the network namespace ns. An error is that of
// joining it; f has not run then.
func InNetwork(ns *os.File, f func()) (err error) {
	OnThread(func() {
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			f()
		}
	})
	return err
}

// The calls below change the calling thread only, where those of package
// syscall change all threads. The second stage executes the program from that
// thread, which keeps what the thread has.

// ThreadSetresuid sets the real, effective and saved user ID of this thread.
func ThreadSetresuid(uid int) error {
	_, _, errno := syscall.RawSyscall(sysSetresuid, uintptr(uid), uintptr(uid), uintptr(uid))
	return sysErr("setresuid", errno)
}

// ThreadSetresgid sets the real, effective and saved group ID of this thread.
func ThreadSetresgid(gid int) error {
	_, _, errno := syscall.RawSyscall(sysSetresgid, uintptr(gid), uintptr(gid), uintptr(gid))
	return sysErr("setresgid", errno)
}

// ThreadSetgroups sets the supplementary groups of this thread.
func ThreadSetgroups(gids []uint32) error {
	var first unsafe.Pointer
	if len(gids) > 0 {
		first = unsafe.Pointer(&gids[0])
	}
	_, _, errno := syscall.RawSyscall(sysSetgroups, uintptr(len(gids)), uintptr(first), 0)
	return sysErr("setgroups", errno)
}

// Setrlimit sets a resource limit of this process. package syscall needs
// prlimit64, which 2.6.32 lacks.
func Setrlimit(resource int, soft, hard uint64) error {
	lim := unix.Rlimit{Cur: soft, Max: hard}
	err := unix.Prlimit(0, resource, &lim, nil)
	if err != unix.ENOSYS {
		return sysErr("prlimit", errnoOf(err))
	}
	old := [2]uintptr{oldLimit(soft), oldLimit(hard)}
	_, _, errno := syscall.RawSyscall(unix.SYS_SETRLIMIT, uintptr(resource), uintptr(unsafe.Pointer(&old)), 0)
	return sysErr("setrlimit", errno)
}

// oldLimit is a limit in the kernel's native word, where all bits set is
// infinity.
func oldLimit(v uint64) uintptr {
	if v > uint64(^uintptr(0)) {
		return ^uintptr(0)
	}
	return uintptr(v)
}

func errnoOf(err error) syscall.Errno {
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return 0
}

func sysErr(call string, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError(call, errno)
}
