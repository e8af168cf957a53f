package nosys

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// openForReal does, in the caller's stead, what kernels before 2.6.39 do that know
// nothing of O_PATH: a real open. It tells whether the caller has its answer; with
// neither that nor an error, the kernel answers.
func (s *supervisor) openForReal(n *notif, w watchedCall, path string) (unix.Errno, bool) {
	base := fmt.Sprintf("/proc/%d/cwd", n.pid)
	switch {
	case strings.HasPrefix(path, "/proc/self"), strings.HasPrefix(path, "/proc/thread-self"):
		return 0, false // it would be ours
	case strings.HasPrefix(path, "/"):
		base = fmt.Sprintf("/proc/%d/root", n.pid)
		path = "." + path
	case w.dir != none && int32(n.args[w.dir]) != unix.AT_FDCWD:
		base = fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[w.dir]))
	}
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	flags := int(n.args[w.flags])
	// Not to hang on a FIFO, nor to get a terminal.
	fd, err := openAs(n.pid, dir, path, flags&^unix.O_PATH|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	unix.Close(dir)
	var errno unix.Errno
	if errors.As(err, &errno) {
		if errno == unix.ELOOP {
			// For this machine's own libc, whose fchmodat needs it on a link.
			errno = 0
		}
		return errno, false
	}
	if flags&unix.O_NONBLOCK == 0 {
		_ = unix.SetNonblock(fd, false)
	}
	return 0, s.hand(n.id, fd, uint32(flags&unix.O_CLOEXEC))
}

// openAs opens with the rights to files of the user that pid runs as.
func openAs(pid uint32, dir int, path string, flags int) (int, error) {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", pid), &st); err != nil {
		return 0, err
	}
	uid, gid := unix.Geteuid(), unix.Getegid()
	if int(st.Uid) != uid {
		_ = unix.Setfsgid(int(st.Gid))
		_ = unix.Setfsuid(int(st.Uid))
		defer unix.Setfsgid(gid)
		defer unix.Setfsuid(uid)
	}
	return unix.Openat(dir, path, flags, 0)
}
