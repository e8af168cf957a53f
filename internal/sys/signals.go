package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigsetSize is the size of the kernel's set of signals, on every architecture.
const sigsetSize = 8 // bytes

// sigactionWords is the most that a struct sigaction of the kernel's takes: it begins
// with the handler everywhere but on MIPS; the rest is at most two words and the set.
const sigactionWords = 3 + sigsetSize/unsafe.Sizeof(uintptr(0))

// DefaultSignals gives every signal that is ignored its default meaning and
// blocks none in the calling thread, which is about to execute another program:
// both are inherited. Whoever starts us with & from a script, or with nohup, has
// us ignore SIGINT, SIGQUIT or SIGHUP, and a shell cannot trap those then
// (POSIX, "trap").
func DefaultSignals() error {
	for sig := uintptr(1); sig <= 64; sig++ {
		var action [sigactionWords]uintptr
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), sigsetSize, 0, 0)
		if errno != 0 {
			return errno
		}
		const ignore = 1
		if action[0] != ignore {
			continue
		}
		clear(action[:])
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, sigsetSize, 0, 0); errno != 0 {
			return errno
		}
	}
	return unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
}
