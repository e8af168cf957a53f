package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// DefaultSignals gives every signal that is ignored its default meaning and
// blocks none in the calling thread, which is about to execute another program:
// both are inherited. Whoever starts us with & from a script, or with nohup, has
// us ignore SIGINT, SIGQUIT or SIGHUP, and a shell cannot trap those then
// (POSIX, "trap").
func DefaultSignals() error {
	const setSize = 8 // bytes of the kernel's set, on every architecture
	for sig := uintptr(1); sig <= 64; sig++ {
		// struct sigaction begins with the handler everywhere but on MIPS; the
		// rest is at most two words and the set.
		var action [3 + setSize/unsafe.Sizeof(uintptr(0))]uintptr
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), setSize, 0, 0)
		if errno != 0 {
			return errno
		}
		const ignore = 1
		if action[0] != ignore {
			continue
		}
		clear(action[:])
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0); errno != 0 {
			return errno
		}
	}
	return unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}
