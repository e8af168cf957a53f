//go:build 386 || arm

package sys

import "golang.org/x/sys/unix"

// The calls with 32-bit IDs; those without "32" cut an ID at 16 bits.
const (
	sysSetresuid = unix.SYS_SETRESUID32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetgroups = unix.SYS_SETGROUPS32
	sysFcntl     = unix.SYS_FCNTL64
)
