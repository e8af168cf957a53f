package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// KernelVersion is that of uname(2), as {4, 19, 0}; zero where it cannot be read.
func KernelVersion() (v [3]uint32) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return v
	}
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d.%d", &v[0], &v[1], &v[2])
	return v
}
