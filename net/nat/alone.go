package nat

import (
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one waits for others, who may be many, and are no longer
// waited for where one of them is stuck.
const patience = 30 * time.Second

// alone keeps other processes of ours from changing what all networks share in the
// host's chains: looking and putting are two commands, and two who start at once
// would both find nothing there, and both put theirs. The lock is that of the network
// namespace, as the chains are; a kernel without that file (before 3.0) has none.
func alone() (let func()) {
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK && err != unix.EINTR {
			break
		}
	}
	return func() { unix.Close(fd) }
}
