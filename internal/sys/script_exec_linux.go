package sys

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What follows is of scripts that end in another program.

// strs is the address of a list of strings as execve(2) takes it.
func (s *Script) strs(list []string) uintptr {
	all := make([]uintptr, 0, len(list)+1)
	for _, text := range list {
		all = append(all, s.Str(text))
	}
	return Array(s, append(all, 0))
}

// Fprog is the address of a struct sock_fprog of prog, an array of struct
// sock_filter.
func (s *Script) Fprog(prog []byte) uintptr {
	// A copy in an array of the right type is aligned, prog need not be.
	insns := make([]unix.SockFilter, len(prog)/unix.SizeofSockFilter)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(insns))), len(prog)), prog)
	f := &unix.SockFprog{Len: uint16(len(insns)), Filter: unsafe.SliceData(insns)}
	s.keep = append(s.keep, f)
	return uintptr(unsafe.Pointer(f))
}

// Streams appends what makes files the descriptors 0, 1 and 2.
func (s *Script) Streams(files [3]int) {
	var moved [3]int
	for i, fd := range files {
		// Out of the way of the places to fill.
		moved[i] = s.Must(sysFcntl, uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	}
	for i, from := range moved {
		s.Add(Call{Nr: unix.SYS_DUP3, Args: [6]uintptr{0, uintptr(i)}, From: [6]uint8{uint8(from + 1)}, Must: true})
	}
}

// Setrlimit appends what [Setrlimit] does.
func (s *Script) Setrlimit(resource int, soft, hard uint64) {
	lim := &unix.Rlimit{Cur: soft, Max: hard}
	s.keep = append(s.keep, lim)
	now := s.Do(unix.SYS_PRLIMIT64, 0, uintptr(resource), uintptr(unsafe.Pointer(lim)))
	old := Array(s, []uintptr{oldLimit(soft), oldLimit(hard)})
	s.Add(Call{Nr: unix.SYS_SETRLIMIT, Args: [6]uintptr{uintptr(resource), old}, Unless: uint8(now + 1), Must: true})
}

// SetIDs appends the change to a user, a group and supplementary groups.
func (s *Script) SetIDs(uid, gid int, groups []uint32) {
	s.Must(sysSetgroups, uintptr(len(groups)), Array(s, groups))
	s.Must(sysSetresgid, uintptr(gid), uintptr(gid), uintptr(gid))
	s.Must(sysSetresuid, uintptr(uid), uintptr(uid), uintptr(uid))
}

// DefaultSignals appends what gives every signal its default meaning, and blocks
// none: from then on no handler of ours, which belongs to a program of many
// threads, can run in the child.
func (s *Script) DefaultSignals() {
	action := Array(s, make([]uintptr, sigactionWords))
	for sig := uintptr(1); sig <= 64; sig++ {
		s.Do(unix.SYS_RT_SIGACTION, sig, action, 0, sigsetSize) // EINVAL for SIGKILL and SIGSTOP
	}
	s.Must(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, Array(s, make([]uintptr, sigsetSize/unsafe.Sizeof(uintptr(0)))), 0, sigsetSize)
}

// DieWithParent appends what has the kernel send sig to the child when the thread
// ends that has started it, and ends the child if that has happened already.
func (s *Script) DieWithParent(sig unix.Signal) {
	s.Must(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(sig))
	// With its own copy of the other end open the child would not see us end.
	s.ourEnd = append(s.ourEnd, s.Must(unix.SYS_CLOSE))
	s.itsEnd = append(s.itsEnd, s.Must(unix.SYS_WRITE, 0, s.Str("."), 1))
}

// Exec appends, as the last call, the execution of path.
func (s *Script) Exec(path string, args, env []string) error {
	for _, list := range [][]string{{path}, args, env} {
		for _, text := range list {
			if _, err := unix.ByteSliceFromString(text); err != nil {
				return err // a zero byte within
			}
		}
	}
	s.Must(unix.SYS_EXECVE, s.Str(path), s.strs(args), s.strs(env))
	return nil
}

// maxIndex is the last call that From and Unless can name.
const maxIndex = math.MaxUint8 - 1

// Become runs a script that ends in Exec. It makes the child on the calling thread,
// waits until that executes its program, and returns its PID. Where a call fails the
// child is gone, and the error is that of the call. A child that is killed before it
// gets there looks like one that got there: its status tells.
func (s *Script) Become() (pid int, err error) {
	if len(s.calls) > maxIndex {
		return 0, os.NewSyscallError("script", unix.E2BIG)
	}
	// What another thread opens must have its FD_CLOEXEC before there is a child.
	syscall.ForkLock.Lock()
	r, err := s.Start()
	syscall.ForkLock.Unlock()
	if err != nil {
		return 0, err
	}
	defer r.close()
	r.wait()
	for i, a := range r.answers() {
		if !a.Done {
			return r.pid, nil
		}
		if s.calls[i].Must && a.Errno != 0 {
			reap(r.pid)
			return 0, fmt.Errorf("call %d of %d, number %d: %w", i, len(s.calls), s.calls[i].Nr, a.Errno)
		}
	}
	return r.pid, nil
}
