package nosys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config says what to run and as what.
type Config struct {
	Version Version
	Args    []string
	// Trace is told what is withheld and each answer that was not the
	// kernel's own; nil for silence.
	Trace func(format string, args ...any)
}

// ErrTooNew says that this machine's kernel cannot answer for an older one.
var ErrTooNew = errors.New("seccomp filters are not to be had here")

// Run runs the program and returns the exit code that a shell would: 128+n
// after signal n. The program is a child: the filter's supervisor must outlive
// its last call. What the program leaves running finds the calls that the
// supervisor looks at answered by ENOSYS.
func Run(c Config) (int, error) {
	if c.Trace == nil {
		c.Trace = func(string, ...any) {}
	}
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return 0, err
	}
	hide, err := unseenAt(c.Version)
	if err != nil {
		return 0, err
	}
	// The filter, the mount namespace and Pdeathsig are this thread's.
	runtime.LockOSThread()
	withoutGroups(c, hide)
	if err := withoutCaps(c.Version); err != nil {
		return 0, err
	}
	fd, err := install(c.Version)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	go newSupervisor(fd, c.Version, hide, c.Trace).serve()
	report(c, hide)

	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs)
	// Not os/exec, which asks for a pidfd by a clone flag that may be refused.
	pid, err := syscall.ForkExec(path, c.Args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	go forward(sigs, pid)
	return wait(pid)
}

func wait(pid int) (int, error) {
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for the program: %w", err)
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		default:
			return ws.ExitStatus(), nil
		}
	}
}

// forward passes signals on, but for those that are about ourselves.
func forward(sigs <-chan os.Signal, pid int) {
	for s := range sigs {
		switch s {
		case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU:
		default:
			_ = syscall.Kill(pid, s.(syscall.Signal))
		}
	}
}

// install loads the filter into this thread and returns the supervisor's
// descriptor.
func install(v Version) (int, error) {
	f, err := filter(v, true)
	if err != nil {
		return 0, err
	}
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	var flags uintptr = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	set := func() (uintptr, unix.Errno) {
		r, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		return r, e
	}
	fd, e := set()
	if e == unix.EINVAL {
		// Before 5.19 a signal takes back what the supervisor works on: a
		// descriptor that the caller was given by then stays open in it.
		flags &^= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		fd, e = set()
	}
	if e == unix.EACCES {
		// Without CAP_SYS_ADMIN: set-user-ID programs such as newuidmap will
		// have no effect.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return 0, fmt.Errorf("set no_new_privs: %w", err)
		}
		fd, e = set()
	}
	if e != 0 {
		return 0, fmt.Errorf("%w: load a filter with a supervisor (wants kernel 5.5): %w", ErrTooNew, os.NewSyscallError("seccomp", e))
	}
	return int(fd), nil
}

// lastCap is the last capability that a kernel of version v knows, as far as
// options.tsv takes later ones away.
func lastCap(v Version) int {
	switch {
	case v.Less(Version{2, 6, 37}):
		return unix.CAP_MAC_ADMIN
	case v.Less(Version{3}):
		return unix.CAP_SYSLOG
	case v.Less(Version{3, 5}):
		return unix.CAP_WAKE_ALARM
	case v.Less(Version{3, 8}):
		return unix.CAP_BLOCK_SUSPEND
	}
	return 63
}

// withoutCaps drops from this thread the capabilities that a kernel of version
// v does not know. What cannot be seen in the bounding set must not come back
// at an exec: it would undo a parent-death signal.
func withoutCaps(v Version) error {
	last := lastCap(v)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Effective&(1<<unix.CAP_SETPCAP) == 0 || last >= 63 {
		return nil // nothing is to be had by exec, or all may be kept
	}
	for n := last + 1; n < 64; n++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			break // past the last of this machine's
		}
	}
	// last is 33 or more: in the second word.
	keep := uint32(1)<<(last-31) - 1
	data[1].Effective &= keep
	data[1].Permitted &= keep
	data[1].Inheritable &= keep
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return nil
}

// report says once what is withheld, and what cannot be.
func report(c Config, hide []unseen) {
	all, _ := calls()
	var names []string
	for _, k := range all {
		if c.Version.Less(k.since) && k.arch == "" {
			names = append(names, k.name)
		}
	}
	c.Trace("withheld: %d system calls: %s", len(names), strings.Join(names, " "))
	opts, _ := options()
	for _, o := range opts {
		if c.Version.Less(o.since) {
			c.Trace("withheld: %s %s (%s)", strings.Join(o.names, ","), o.what, o.since)
		}
	}
	for _, u := range hide {
		c.Trace("withheld: %s %s (%s)", u.kind, u.name, u.since)
	}
	for _, l := range leaks(c.Version) {
		c.Trace("not withheld: %s", l)
	}
}

// leaks is what a program can find out all the same.
func leaks(v Version) []string {
	out := []string{
		"calls of 32-bit programs that hang on a string (mount types, paths)",
		"names in the listing of a directory",
		"netlink families and messages (nf_tables before 3.13), but for links, and those too by sendmsg, as iproute2 does",
		"uname, but of 32-bit programs with the machine's own host name",
	}
	if v.Less(Version{2, 6, 33}) {
		out = append(out, "sendfile into a file, EINVAL before 2.6.33")
	}
	if v.Less(Version{2, 6, 39}) {
		out = append(out, "O_PATH with O_NOFOLLOW on a symbolic link", "fstatat with AT_EMPTY_PATH, without which this machine's glibc programs do not start")
	}
	if v.Less(Version{3}) {
		out = append(out, "cgroup.procs is refused when it is opened for writing, not when it is written")
	}
	if v.Less(Version{4, 3}) {
		out = append(out, "the line CapAmb in /proc/PID/status, and lines of controllers in /proc/PID/cgroup")
	}
	if v.Less(Version{3, 19}) {
		out = append(out, "/proc/PID/setgroups, which this machine's kernel wants written")
	}
	if v.Less(Version{3, 18}) {
		out = append(out, "rmdir of a directory that is a mount point in another namespace, EBUSY before")
	}
	if os.Geteuid() != 0 {
		out = append(out, "mounts of control groups")
	}
	if v.Less(Version{4, 6}) {
		out = append(out, "CLONE_NEWCGROUP is refused, not ignored or hung on; CLONE_NEWUSER before 3.8 is refused, not half done")
	}
	return out
}
