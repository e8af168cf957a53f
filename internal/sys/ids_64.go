//go:build amd64 || arm64

package sys

import "golang.org/x/sys/unix"

const (
	sysSetresuid = unix.SYS_SETRESUID
	sysSetresgid = unix.SYS_SETRESGID
	sysSetgroups = unix.SYS_SETGROUPS
	sysFcntl     = unix.SYS_FCNTL
)
