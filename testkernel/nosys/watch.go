package nosys

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"coracle/backends/confine"

	"golang.org/x/sys/unix"
)

// watchedCall is a call whose string argument arg the supervisor reads. dir is the
// argument with the directory that a relative path begins at, or none; flags is
// that with the flags of an open, or none. It is watched if tests hold.
type watchedCall struct {
	name            string
	arg, dir, flags int
	open            bool
	tests           []test
}

const none = -1

// of tells whether the call is watched in the native table, or in that of 32-bit
// programs. Only what Go's runtime asks there is: it takes calls for granted by the
// kernel's version (futex_time64 from 5.1 on). In the native one this machine's own
// libc asks too, and will not start below 3.2.
func (w watchedCall) of(native bool) bool { return native == (w.name != "uname") }

func watched() []watchedCall {
	return []watchedCall{
		{name: "mount", arg: 2},
		{"open", 0, none, 1, true, nil}, {"openat", 1, 0, 2, true, nil}, {"openat2", 1, 0, none, true, nil},
		look("stat", none), look("lstat", none), look("stat64", none), look("lstat64", none),
		look("newfstatat", 0), look("fstatat64", 0), look("statx", 0),
		look("access", none), look("faccessat", 0), look("faccessat2", 0),
		look("readlink", none), look("readlinkat", 0), look("chdir", none),
		{name: "uname"},
		{name: "setxattr", arg: 1}, {name: "lsetxattr", arg: 1}, {name: "fsetxattr", arg: 1},
		{name: "sendto", tests: []test{{arg: 5, op: '=', value: unix.SizeofSockaddrNetlink}}},
	}
}

// look is a call that looks at a path, which stands behind dir.
func look(name string, dir int) watchedCall {
	return watchedCall{name: name, arg: dir + 1, dir: dir, flags: none}
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
	ioctlRecv    = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	ioctlSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	ioctlAddfd   = 0x40182103 // SECCOMP_IOCTL_NOTIF_ADDFD
	ioctlFlags   = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS (6.6)
)

// supervisor answers for the kernel where the answer hangs on a string. It is
// no means of protection: a program could change the string after the look.
type supervisor struct {
	fd   int
	hide []unseen
	byNr map[tableNr]watchedCall
	// release is what uname says.
	release string
	lists   map[string]int // files with a reduced list, by path
	trace   func(string, ...any)
}

// tableNr is a call's number and the table that it is of, as AUDIT_ARCH_*.
type tableNr struct {
	audit uint32
	nr    int32
}

func newSupervisor(fd int, v Version, hide []unseen, trace func(string, ...any)) *supervisor {
	s := &supervisor{fd: fd, hide: hide, byNr: map[tableNr]watchedCall{}, release: v.String(), lists: map[string]int{}, trace: trace}
	for i, t := range tables() {
		for _, w := range watched() {
			if nr, ok := confine.Number(t.arch, w.name); ok && w.of(i == 0) {
				s.byNr[tableNr{t.audit, int32(nr)}] = w
			}
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
	w := s.byNr[tableNr{n.arch, n.nr}]
	var str string
	if w.name != "uname" && w.name != "sendto" {
		str = readString(n.pid, n.args[w.arg])
	}
	var errno unix.Errno
	switch {
	case w.name == "uname":
		if s.uname(n) {
			s.send(notifResp{id: n.id})
			return
		}
	case w.name == "sendto":
		errno = s.alterLinks(n)
	case w.name == "mount":
		errno = s.judgeMount(n, str)
	case strings.HasSuffix(w.name, "setxattr"):
		errno = s.judgeXattr(n, w.name, str)
	default:
		path := s.absolute(n, w, str)
		// Who goes there step by step wants the place and not the list.
		if w.open && s.reducible(str) && s.give(n.id, n.pid, path) {
			return
		}
		errno = s.judgePath(n, w, path)
		if errno == 0 && w.flags != none && n.args[w.flags]&unix.O_PATH != 0 && s.hides("flag", "O_PATH") {
			var done bool
			if errno, done = s.openForReal(n, w, str); done {
				return
			}
		}
		str = path
	}
	r := notifResp{id: n.id, flags: respContinue}
	if errno != 0 {
		s.trace("%s of %s by %d: %v", w.name, str, n.pid, errno)
		r = notifResp{id: n.id, errno: -int32(errno)}
	}
	s.send(r)
}

// send gives the caller its answer; ENOENT then: the caller is gone.
func (s *supervisor) send(r notifResp) unix.Errno {
	_, e := s.ioctl(ioctlSend, unsafe.Pointer(&r))
	return e
}

// ioctl asks again when a signal comes between: Go's runtime sends itself some.
func (s *supervisor) ioctl(nr uintptr, arg unsafe.Pointer) (int, unix.Errno) {
	for {
		n, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s.fd), nr, uintptr(arg))
		if e != unix.EINTR {
			return int(n), e
		}
	}
}

// absolute is what a relative path leads to, where that is in a directory of the
// kernel's own; any other is left as it is.
func (s *supervisor) absolute(n *notif, w watchedCall, path string) string {
	if path == "" || path[0] == '/' {
		return path
	}
	from := "cwd"
	if w.dir != none && int32(n.args[w.dir]) != unix.AT_FDCWD {
		from = fmt.Sprintf("fd/%d", int32(n.args[w.dir]))
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", n.pid, from))
	if err != nil || !kernels(dir+"/") {
		return path
	}
	return dir + "/" + path
}

// kernels tells whether path is in a directory that is the kernel's own.
func kernels(path string) bool {
	return strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/sys/") || strings.HasPrefix(path, "/dev/")
}

// judgePath is the error of a look at path, or 0.
func (s *supervisor) judgePath(n *notif, w watchedCall, path string) unix.Errno {
	_, base, _ := cutLast(path)
	write := w.flags != none && n.args[max(w.flags, 0)]&unix.O_ACCMODE != unix.O_RDONLY
	inKernel := kernels(path)
	for _, u := range s.hide {
		switch {
		case u.kind == "path" && inKernel && match(u.name, path):
			return unix.ENOENT
		case u.name != base || !s.inGroup(n, w, path):
		case u.kind == "file":
			return unix.ENOENT
		case u.kind == "written" && write:
			return unix.EINVAL
		}
	}
	return 0
}

// inGroup tells whether path is in a file system of control groups.
func (s *supervisor) inGroup(n *notif, w watchedCall, path string) bool {
	dir, _, _ := cutLast(place(n, w.dir, path))
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP_SUPER_MAGIC
}

// place is where we find what the caller calls path. dir is as in [watchedCall].
func place(n *notif, dir int, path string) string {
	fd, isFD := strings.CutPrefix(path, "/proc/self/fd/")
	switch {
	case isFD:
		return fmt.Sprintf("/proc/%d/fd/%s", n.pid, fd)
	case strings.HasPrefix(path, "/"):
		return fmt.Sprintf("/proc/%d/root%s", n.pid, path)
	case dir != none && int32(n.args[dir]) != unix.AT_FDCWD:
		return fmt.Sprintf("/proc/%d/fd/%d/%s", n.pid, int32(n.args[dir]), path)
	}
	return fmt.Sprintf("/proc/%d/cwd/%s", n.pid, path)
}

func cutLast(path string) (dir, base string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:], i >= 0
}

// judgeMount is the error of a mount of type fstype, or 0.
func (s *supervisor) judgeMount(n *notif, fstype string) unix.Errno {
	var data []string
	if n.args[4] != 0 {
		data = strings.Split(readString(n.pid, n.args[4]), ",")
	}
	for _, u := range s.hide {
		switch {
		case u.kind == "fs" && u.name == fstype:
			return unix.ENODEV
		case u.kind == "option" && strings.HasPrefix(u.name, fstype+":") && slices.Contains(data, u.name[len(fstype)+1:]):
			return unix.EINVAL
		case u.kind == "controller" && fstype == "cgroup" && slices.Contains(data, u.name):
			return unix.EINVAL
		case u.kind == "userns" && u.name == fstype && otherUserNS(n.pid):
			return unix.EPERM
		}
	}
	return 0
}

// otherUserNS tells whether pid is in another user namespace than ourselves.
func otherUserNS(pid uint32) bool {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", pid))
	ours, _ := os.Readlink("/proc/self/ns/user")
	return err == nil && theirs != ours
}

// judgeXattr is the error of setting an extended attribute, or 0.
func (s *supervisor) judgeXattr(n *notif, call, attr string) unix.Errno {
	for _, u := range s.hide {
		if u.kind != "xattr" {
			continue
		}
		fs, prefix, _ := strings.Cut(u.name, ":")
		if strings.HasPrefix(attr, prefix) && fs == "tmpfs" && s.onTmpfs(n, call) {
			return unix.EOPNOTSUPP
		}
	}
	return 0
}

// onTmpfs tells whether the file that a setxattr is about is on a tmpfs.
func (s *supervisor) onTmpfs(n *notif, call string) bool {
	file := fmt.Sprintf("/proc/%d/fd/%d", n.pid, int32(n.args[0]))
	if call != "fsetxattr" {
		path := readString(n.pid, n.args[0])
		file = place(n, none, path)
		if call == "lsetxattr" && !strings.HasPrefix(path, "/proc/self/fd/") {
			file, _, _ = cutLast(file) // a link is where its directory is
		}
	}
	var st unix.Statfs_t
	return unix.Statfs(file, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// uname fills the caller's struct new_utsname with our own names and another
// release. Of a caller with a host name of its own it knows nothing.
func (s *supervisor) uname(n *notif) bool {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", n.pid))
	ours, _ := os.Readlink("/proc/self/ns/uts")
	var u unix.Utsname
	if err != nil || theirs != ours || unix.Uname(&u) != nil {
		return false
	}
	clear(u.Release[:])
	copy(u.Release[:], s.release)
	all := (*[unsafe.Sizeof(u)]byte)(unsafe.Pointer(&u))
	return write(n.pid, n.args[0], all[:])
}

// write writes to the memory of another process.
func write(pid uint32, addr uint64, b []byte) bool {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMWritev(int(pid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	return err == nil && n == len(b)
}

// read reads from the memory of another process; nil where there is none.
func read(pid uint32, addr uint64, b []byte) []byte {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(int(pid), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err != nil {
		return nil
	}
	return b[:n]
}

func (s *supervisor) hides(kind, name string) bool {
	return slices.ContainsFunc(s.hide, func(u unseen) bool { return u.kind == kind && u.name == name })
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

// reducible tells whether path is a list that names what is hidden.
func (s *supervisor) reducible(path string) bool {
	return path == "/proc/filesystems" || path == "/proc/cgroups"
}

// give opens, in the caller's stead, a list of the kernel's without what is hidden.
func (s *supervisor) give(id uint64, pid uint32, path string) bool {
	// A container may have masked it: then what it sees is another file.
	var st unix.Statfs_t
	seen := fmt.Sprintf("/proc/%d/root%s", pid, path)
	if err := unix.Statfs(seen, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC || !s.reduce(path) {
		return false
	}
	// A description of its own: the reader's position is not shared.
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.lists[path]), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	return s.hand(id, fd, unix.O_CLOEXEC)
}

// hand gives the caller fd as the answer, and closes ours before: a caller that
// has its answer may unmount what fd is on. Never with SECCOMP_ADDFD_FLAG_SEND: a
// signal to us while the kernel waits for the caller leaves that one with the
// answer 0 and no descriptor (kernel/seccomp.c, seccomp_notify_addfd), and descriptor
// 0 is another file.
func (s *supervisor) hand(id uint64, fd int, flags uint32) bool {
	a := notifAddfd{id: id, srcfd: uint32(fd), newfdFlags: flags}
	theirs, e := s.ioctl(ioctlAddfd, unsafe.Pointer(&a))
	unix.Close(fd)
	return e == 0 && s.send(notifResp{id: id, val: int64(theirs)}) == 0
}

// reduce makes a reduced list once: of types, which stand last in a line, or of
// controllers, which stand first.
func (s *supervisor) reduce(path string) bool {
	if _, made := s.lists[path]; made {
		return true
	}
	all, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var left strings.Builder
	for line := range strings.Lines(string(all)) {
		f := strings.Fields(line)
		hidden := len(f) > 0 && s.hides("fs", f[len(f)-1])
		if path == "/proc/cgroups" {
			hidden = len(f) > 0 && s.hides("controller", f[0])
		}
		if !hidden {
			left.WriteString(line)
		}
	}
	fd, err := unix.MemfdCreate("list", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	if _, err := unix.Write(fd, []byte(left.String())); err != nil {
		unix.Close(fd)
		return false
	}
	s.lists[path] = fd
	return true
}

// readString reads a C string of another process, up to PATH_MAX, page by
// page since what is behind its end may not be mapped; "" if it cannot be had.
func readString(pid uint32, addr uint64) string {
	var out []byte
	for len(out) < unix.PathMax && addr != 0 {
		page := read(pid, addr, make([]byte, 4096-addr%4096))
		if len(page) == 0 {
			return ""
		}
		if i := bytes.IndexByte(page, 0); i >= 0 {
			return string(append(out, page[:i]...))
		}
		out, addr = append(out, page...), addr+uint64(len(page))
	}
	return ""
}
