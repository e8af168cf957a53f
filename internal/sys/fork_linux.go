package sys

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Fork describes a child process that is made in other namespaces. os/exec
// cannot: it joins no namespace, and lets nobody write the ID maps of a new
// user namespace but itself.
type Fork struct {
	// Flags are those of clone(2), without a termination signal.
	Flags uintptr
	// Join are namespace descriptors for setns(2), in order.
	Join []int
	// Again forks once more after Join, because a PID namespace that was
	// joined holds only later children. The second child is our child too
	// (CLONE_PARENT), and its PID is what Exec returns.
	Again bool
	// AgainFlags are clone(2)'s for that second child, beyond CLONE_PARENT:
	// namespaces that are made inside a user namespace that was joined.
	AgainFlags uintptr
	// Groups are descriptors of control groups' "tasks" files. The child goes
	// in before it does anything else: who writes 0 there moves itself, one
	// thread, which needs no grace period of the kernel's from 5.4 on (commit
	// 9a3284fad42f).
	Groups []int
	// Outside is set by Exec where one of Groups would not have the child.
	Outside bool
	// Map is called with the PID of a child in a new user namespace, and
	// writes its ID maps. The child waits for it, then becomes user and group 0.
	Map func(pid int) error
	// Unshare are flags for unshare(2), after Join.
	Unshare uintptr
	// Shield makes all mounts slaves and binds Path on itself read-only before
	// it is executed, so that the program in the container, which can reach
	// its /proc/PID/exe, cannot write to it (CVE-2019-5736). It needs a mount
	// namespace of the child's own.
	Shield bool
	// Deathsig is the signal that the child gets when the calling *thread*
	// ends; 0: none.
	Deathsig syscall.Signal

	Path  string
	Args  []string
	Env   []string
	Files []int // descriptors to become 0, 1, 2, …
}

// The steps of the child, as it names them when one fails.
const (
	stepOK = iota
	stepOutside
	stepWait
	stepJoin
	stepAgain
	stepIDs
	stepUnshare
	stepSlave
	stepBind
	stepReadOnly
	stepFiles
	stepExec
)

func stepName(n int32) string {
	switch n {
	case stepWait:
		return "wait for ID maps"
	case stepJoin:
		return "setns"
	case stepAgain, stepOK:
		return "clone"
	case stepIDs:
		return "become root of the user namespace"
	case stepUnshare:
		return "unshare"
	case stepSlave:
		return "make mounts slaves"
	case stepBind, stepReadOnly:
		return "bind our executable read-only"
	case stepFiles:
		return "dup2"
	default:
		return "exec"
	}
}

// report is what the child writes to the pipe: a step that failed, or, with
// stepOK, the PID of the second child. After stepOutside the child goes on.
type report struct {
	step  int32
	errno int32
	pid   int32
}

// plan is Fork with everything allocated and converted: the child may not
// allocate.
type plan struct {
	flags, unshare uintptr
	join, groups   []int
	again          bool
	againFlags     uintptr
	wait           int // descriptor to read a byte from; -1: none
	waker          int // the parent's end of wait
	shield         bool
	bindFlags      uintptr
	deathsig       uintptr
	path           *byte
	root, none     *byte
	argv, envv     **byte
	files          []int
	pipe           int
	out            report
	zero           uint64
	digit          byte // '0'
}

// Exec makes the child. An error names the step that failed.
func (f *Fork) Exec() (pid int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := f.plan()
	if err != nil {
		return 0, err
	}
	var answer, wait [2]int
	if err := unix.Pipe2(answer[:], unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("pipe2", err)
	}
	defer unix.Close(answer[0])
	p.pipe, p.wait, p.waker = answer[1], -1, -1
	if f.Map != nil {
		if err := unix.Pipe2(wait[:], unix.O_CLOEXEC); err != nil {
			unix.Close(answer[1])
			return 0, os.NewSyscallError("pipe2", err)
		}
		p.wait, p.waker = wait[0], wait[1]
	}
	// A descriptor that another thread has made and not yet marked
	// close-on-exec would leak. Map may fork too, so the lock is not kept.
	syscall.ForkLock.Lock()
	child, errno := forkBlocked(p)
	syscall.ForkLock.Unlock()
	unix.Close(answer[1])
	if f.Map != nil {
		unix.Close(wait[0])
		defer unix.Close(wait[1])
	}
	if errno != 0 {
		return 0, os.NewSyscallError("clone", errno)
	}
	if f.Map != nil {
		if err := f.Map(child); err != nil {
			unix.Kill(child, unix.SIGKILL)
			reap(child)
			return 0, err
		}
		unix.Write(wait[1], []byte{1})
	}
	return f.collect(answer[0], child)
}

// collect reads the child's reports until the pipe closes at exec.
func (f *Fork) collect(fd, child int) (int, error) {
	pid := child
	for {
		var r report
		buf := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n != len(buf) {
			if f.Again {
				reap(child)
				if pid == child {
					return 0, os.NewSyscallError("clone", unix.ECHILD)
				}
			}
			return pid, nil
		}
		switch r.step {
		case stepOK:
			pid = int(r.pid)
			continue
		case stepOutside:
			f.Outside = true
			continue
		}
		reap(child)
		if pid != child {
			reap(pid)
		}
		return 0, os.NewSyscallError(stepName(r.step), syscall.Errno(r.errno))
	}
}

func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

func (f *Fork) plan() (*plan, error) {
	p := &plan{
		flags: f.Flags | uintptr(unix.SIGCHLD), unshare: f.Unshare, join: f.Join, groups: f.Groups, again: f.Again,
		againFlags: f.AgainFlags | unix.CLONE_PARENT | uintptr(unix.SIGCHLD),
		shield:     f.Shield, deathsig: uintptr(f.Deathsig),
		files: append([]int(nil), f.Files...), digit: '0',
	}
	var err error
	if p.path, err = unix.BytePtrFromString(f.Path); err != nil {
		return nil, err
	}
	p.root, _ = unix.BytePtrFromString("/")
	p.none, _ = unix.BytePtrFromString("none")
	argv, err := syscall.SlicePtrFromStrings(f.Args)
	if err != nil {
		return nil, err
	}
	envv, err := syscall.SlicePtrFromStrings(f.Env)
	if err != nil {
		return nil, err
	}
	p.argv, p.envv = &argv[0], &envv[0]
	if f.Shield {
		var st unix.Statfs_t
		if err := unix.Statfs(f.Path, &st); err != nil {
			return nil, &os.PathError{Op: "statfs", Path: f.Path, Err: err}
		}
		p.bindFlags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | LockedFlags(int64(st.Flags))
	}
	return p, nil
}

// LockedFlags turns statfs(2)'s flags into those of mount(2) that a remount in a
// user namespace may not clear (mount_namespaces(7)).
func LockedFlags(statfs int64) uintptr {
	var flags uintptr
	for _, pair := range [...]struct {
		st int64
		ms uintptr
	}{
		{unix.ST_NOSUID, unix.MS_NOSUID}, {unix.ST_NODEV, unix.MS_NODEV}, {unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME}, {unix.ST_NODIRATIME, unix.MS_NODIRATIME}, {unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if statfs&pair.st != 0 {
			flags |= pair.ms
		}
	}
	return flags
}

// forkBlocked forks with every signal blocked, so that no handler of the Go
// runtime ever runs in the child. Handlers are reset by exec.
//
//go:noinline
//go:norace
func forkBlocked(p *plan) (int, syscall.Errno) {
	var all, old [2]uint64
	all[0], all[1] = ^uint64(0), ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	// The arguments beyond flags are zero, so their order, which differs
	// between architectures, does not matter.
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, p.flags, 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		childMain(p)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return int(pid), errno
}

// childMain runs in the child, on a copy of the parent's memory and on the only
// thread: no allocation, no stack growth, no lock, only raw system calls.
//
//go:nosplit
//go:norace
func childMain(p *plan) {
	var errno syscall.Errno
	childGroups(p)
	if p.wait >= 0 {
		// With our copy of the other end open, the death of the parent would
		// leave us waiting for ever.
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(p.waker), 0, 0)
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(p.wait), uintptr(unsafe.Pointer(&p.zero)), 1)
		if n != 1 {
			childFail(p, stepWait, e)
		}
		p.zero = 0
	}
	for i := 0; i < len(p.join); i++ {
		if _, _, errno = syscall.RawSyscall(unix.SYS_SETNS, uintptr(p.join[i]), 0, 0); errno != 0 {
			childFail(p, stepJoin, errno)
		}
	}
	if p.again {
		pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, p.againFlags, 0, 0, 0, 0, 0)
		if e != 0 {
			childFail(p, stepAgain, e)
		}
		if pid != 0 {
			p.out.step, p.out.pid = stepOK, int32(pid)
			syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.pipe), uintptr(unsafe.Pointer(&p.out)), unsafe.Sizeof(p.out))
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	if p.wait >= 0 || (p.again && len(p.join) > 0) {
		if errno = childIDs(); errno != 0 && p.wait >= 0 {
			childFail(p, stepIDs, errno)
		}
	}
	if p.unshare != 0 {
		if _, _, errno = syscall.RawSyscall(unix.SYS_UNSHARE, p.unshare, 0, 0); errno != 0 {
			childFail(p, stepUnshare, errno)
		}
	}
	if p.shield {
		childShield(p)
	}
	childExec(p)
}

//go:nosplit
//go:norace
func childGroups(p *plan) {
	for i := 0; i < len(p.groups); i++ {
		if _, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.groups[i]), uintptr(unsafe.Pointer(&p.digit)), 1); errno != 0 {
			p.out.step = stepOutside
		}
	}
	if p.out.step == stepOutside {
		syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.pipe), uintptr(unsafe.Pointer(&p.out)), unsafe.Sizeof(p.out))
	}
}

// childIDs makes the child user and group 0 of the user namespace that it has
// entered: until then it is nobody there, and exec would take its capabilities.
//
//go:nosplit
//go:norace
func childIDs() syscall.Errno {
	if _, _, errno := syscall.RawSyscall(sysSetresgid, 0, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno := syscall.RawSyscall(sysSetresuid, 0, 0, 0)
	return errno
}

//go:nosplit
//go:norace
func childShield(p *plan) {
	none, root, path := uintptr(unsafe.Pointer(p.none)), uintptr(unsafe.Pointer(p.root)), uintptr(unsafe.Pointer(p.path))
	if _, _, errno := syscall.RawSyscall6(unix.SYS_MOUNT, none, root, none, unix.MS_REC|unix.MS_SLAVE, 0, 0); errno != 0 {
		childFail(p, stepSlave, errno)
	}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_MOUNT, path, path, none, unix.MS_BIND, 0, 0); errno != 0 {
		childFail(p, stepBind, errno)
	}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_MOUNT, none, path, none, p.bindFlags, 0, 0); errno != 0 {
		childFail(p, stepReadOnly, errno)
	}
}

//go:nosplit
//go:norace
func childExec(p *plan) {
	if p.deathsig != 0 {
		syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, p.deathsig, 0, 0, 0, 0)
	}
	// First out of the way of the places to fill, then into them.
	for i := 0; i < len(p.files); i++ {
		fd, _, errno := syscall.RawSyscall(sysFcntl, uintptr(p.files[i]), unix.F_DUPFD_CLOEXEC, uintptr(len(p.files))+3)
		if errno != 0 {
			childFail(p, stepFiles, errno)
		}
		p.files[i] = int(fd)
	}
	if p.pipe < len(p.files) {
		fd, _, errno := syscall.RawSyscall(sysFcntl, uintptr(p.pipe), unix.F_DUPFD_CLOEXEC, uintptr(len(p.files))+3)
		if errno != 0 {
			childFail(p, stepFiles, errno)
		}
		p.pipe = int(fd)
	}
	for i := 0; i < len(p.files); i++ {
		if _, _, errno := syscall.RawSyscall(unix.SYS_DUP3, uintptr(p.files[i]), uintptr(i), 0); errno != 0 {
			childFail(p, stepFiles, errno)
		}
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.zero)), 0, 8, 0, 0)
	_, _, errno := syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), uintptr(unsafe.Pointer(p.argv)), uintptr(unsafe.Pointer(p.envv)))
	childFail(p, stepExec, errno)
}

//go:nosplit
//go:norace
func childFail(p *plan, step int32, errno syscall.Errno) {
	p.out.step, p.out.errno = step, int32(errno)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.pipe), uintptr(unsafe.Pointer(&p.out)), unsafe.Sizeof(p.out))
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 253, 0, 0)
	}
}

// Start makes the child and returns a function that waits for it; another status
// than 0 is an error then. The end of ctx kills it.
func (f *Fork) Start(ctx context.Context) (wait func() error, err error) {
	pid, err := f.Exec()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { unix.Kill(pid, unix.SIGKILL) })
	return func() error {
		defer stop()
		for {
			var ws unix.WaitStatus
			_, err := unix.Wait4(pid, &ws, 0, nil)
			switch {
			case err == unix.EINTR:
			case err != nil:
				return os.NewSyscallError("wait4", err)
			case ws.Exited() && ws.ExitStatus() == 0:
				return nil
			default:
				return fmt.Errorf("%s: status %#x", f.Args[0], uint32(ws))
			}
		}
	}, nil
}
