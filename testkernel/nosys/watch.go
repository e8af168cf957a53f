package nosys

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"coracle/backends/confine"

	"golang.org/x/sys/unix"
)

// watchedCall is a call whose string argument arg the supervisor reads.
type watchedCall struct {
	name string
	arg  int
	open bool
}

func watched() []watchedCall {
	return []watchedCall{
		{"mount", 2, false},
		{"open", 0, true}, {"openat", 1, true},
		{"stat", 0, false}, {"lstat", 0, false}, {"newfstatat", 1, false}, {"statx", 1, false},
		{"stat64", 0, false}, {"lstat64", 0, false}, {"fstatat64", 1, false},
		{"access", 0, false}, {"faccessat", 1, false}, {"faccessat2", 1, false},
		{"readlink", 0, false}, {"readlinkat", 1, false}, {"chdir", 0, false},
		{"openat2", 1, true},
	}
}

// struct seccomp_notif, seccomp_notif_resp and seccomp_notif_addfd of
// include/uapi/linux/seccomp.h. The explicit layout is the same on all
// architectures.
type notif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type notifResp struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

type notifAddfd struct {
	id         uint64
	flags      uint32
	srcfd      uint32
	newfd      uint32
	newfdFlags uint32
}

const (
	respContinue = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE (5.5)
	addfdSend    = 2          // SECCOMP_ADDFD_FLAG_SEND (5.14)
	ioctlRecv    = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	ioctlAddfd   = 0x40182103 // SECCOMP_IOCTL_NOTIF_ADDFD
	ioctlFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS (6.6)
)

// supervisor answers for the kernel where the answer hangs on a string. It is
// no means of protection: a program could change the string after the look.
type supervisor struct {
	fd     int
	hide   []unseen
	byNr   map[int32]watchedCall
	filesy int // a file with the reduced /proc/filesystems, or -1
	trace  func(string, ...any)
}

func newSupervisor(fd int, hide []unseen, trace func(string, ...any)) *supervisor {
	s := &supervisor{fd: fd, hide: hide, byNr: map[int32]watchedCall{}, filesy: -1, trace: trace}
	for _, w := range watched() {
		if nr, ok := confine.Number(tables()[0].arch, w.name); ok {
			s.byNr[int32(nr)] = w
		}
	}
	return s
}

// serve answers until nobody is under the filter any more.
func (s *supervisor) serve() {
	runtime.LockOSThread()
	// Caller and supervisor take turns: on one processor that costs less.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), ioctlFlags, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	for {
		var n notif
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), ioctlRecv, uintptr(unsafe.Pointer(&n)))
		switch e {
		case 0:
			s.answer(&n)
		case unix.EINTR:
		case unix.ENOENT:
			// The caller was interrupted between the wake and our read, or all
			// are gone: poll tells.
			p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(p, -1); err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLNVAL) != 0 {
				return
			}
		default:
			s.trace("the supervisor stops: %v", e)
			return
		}
	}
}

func (s *supervisor) answer(n *notif) {
	r := notifResp{id: n.id, flags: respContinue}
	w := s.byNr[n.nr]
	str := readString(n.pid, n.args[w.arg])
	switch {
	case w.name == "mount":
		if s.hides("fs", str) {
			s.trace("mount of type %s by %d: ENODEV", str, n.pid)
			r = notifResp{id: n.id, errno: -int32(unix.ENODEV)}
		}
	case w.open && str == "/proc/filesystems":
		if s.giveFilesystems(n.id, n.pid) {
			return
		}
	case s.hidesPath(str):
		s.trace("%s of %s by %d: ENOENT", w.name, str, n.pid)
		r = notifResp{id: n.id, errno: -int32(unix.ENOENT)}
	}
	// ENOENT here: the caller is gone.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), ioctlSend, uintptr(unsafe.Pointer(&r)))
}

func (s *supervisor) hides(kind, name string) bool {
	for _, u := range s.hide {
		if u.kind == kind && u.name == name {
			return true
		}
	}
	return false
}

func (s *supervisor) hidesPath(path string) bool {
	if !strings.HasPrefix(path, "/proc/") && !strings.HasPrefix(path, "/sys/") && !strings.HasPrefix(path, "/dev/") {
		return false
	}
	for _, u := range s.hide {
		if u.kind == "path" && match(u.name, path) {
			return true
		}
	}
	return false
}

// match compares name by name: * is any one, ** all that is left, which must
// be something.
func match(pattern, path string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		if p == "**" {
			return path != ""
		}
		n, nrest, nmore := strings.Cut(path, "/")
		if p != n && (p != "*" || n == "") || pmore != nmore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, path = prest, nrest
	}
}

// giveFilesystems opens, in the caller's stead, /proc/filesystems without the
// types that are hidden.
func (s *supervisor) giveFilesystems(id uint64, pid uint32) bool {
	// A container may have masked it: then what it sees is another file.
	var st unix.Statfs_t
	seen := fmt.Sprintf("/proc/%d/root/proc/filesystems", pid)
	if err := unix.Statfs(seen, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC || !s.filter() {
		return false
	}
	// A description of its own: the reader's position is not shared.
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.filesy), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	a := notifAddfd{id: id, flags: addfdSend, srcfd: uint32(fd), newfdFlags: unix.O_CLOEXEC}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), ioctlAddfd, uintptr(unsafe.Pointer(&a)))
	return e == 0
}

// filter makes the reduced /proc/filesystems once.
func (s *supervisor) filter() bool {
	if s.filesy >= 0 {
		return true
	}
	all, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	var left strings.Builder
	for line := range strings.Lines(string(all)) {
		f := strings.Fields(line)
		if len(f) > 0 && !s.hides("fs", f[len(f)-1]) {
			left.WriteString(line)
		}
	}
	fd, err := unix.MemfdCreate("filesystems", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	if _, err := unix.Write(fd, []byte(left.String())); err != nil {
		return false
	}
	s.filesy = fd
	return true
}

// readString reads a C string of another process, up to PATH_MAX, page by
// page since what is behind its end may not be mapped; "" if it cannot be had.
func readString(pid uint32, addr uint64) string {
	var out []byte
	for len(out) < unix.PathMax && addr != 0 {
		page := make([]byte, 4096-addr%4096)
		local := []unix.Iovec{{Base: &page[0]}}
		local[0].SetLen(len(page))
		remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(page)}}
		n, err := unix.ProcessVMReadv(int(pid), local, remote, 0)
		if n <= 0 || err != nil {
			return ""
		}
		if i := bytes.IndexByte(page[:n], 0); i >= 0 {
			return string(append(out, page[:i]...))
		}
		out, addr = append(out, page[:n]...), addr+uint64(n)
	}
	return ""
}
