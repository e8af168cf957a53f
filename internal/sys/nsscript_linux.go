package sys

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one system call of a [Script].
type Call struct {
	Nr   uintptr
	Args [6]uintptr
	// From takes argument i from the result of an earlier call: its index
	// plus one; 0: Args[i] as it is.
	From [6]uint8
	// Unless leaves the call out where an earlier one (its index plus one)
	// did not fail: what it gave is the answer here, too.
	Unless uint8
	// Must ends the script when the call fails.
	Must bool
}

// Answer is what a call of a script gave.
type Answer struct {
	Done  bool // false: the script ended before it
	Ret   uintptr
	Errno syscall.Errno
}

// Err is nil for a call that was made and did not fail.
func (a Answer) Err() error {
	switch {
	case !a.Done:
		return unix.ECANCELED
	case a.Errno != 0:
		return a.Errno
	}
	return nil
}

// Script is a list of system calls made by a child process of one thread, in
// namespaces of its own: what no thread of a Go program can do, and what would
// need another program otherwise. The child executes nothing, and runs no Go
// code that allocates. It has copies of our descriptors.
type Script struct {
	Flags uintptr // of clone(2), without a termination signal
	// Hold keeps the child, and with it its namespaces, after it has made its
	// calls, until End (or our own end).
	Hold  bool
	calls []Call
	keep  []any // what Args point to
	// Calls whose first argument becomes an end of the pipe by which the child is
	// heard (DieWithParent).
	ourEnd, itsEnd []int
}

// Add appends a call and returns its index.
func (s *Script) Add(c Call) int {
	s.calls = append(s.calls, c)
	return len(s.calls) - 1
}

// Do appends a call with args.
func (s *Script) Do(nr uintptr, args ...uintptr) int {
	c := Call{Nr: nr}
	copy(c.Args[:], args)
	return s.Add(c)
}

// Must appends a call without which the rest makes no sense.
func (s *Script) Must(nr uintptr, args ...uintptr) int {
	i := s.Do(nr, args...)
	s.calls[i].Must = true
	return i
}

// Str is the address of a copy of text with a zero byte behind it.
func (s *Script) Str(text string) uintptr {
	b := append([]byte(text), 0)
	return s.Mem(b)
}

// Mem is the address of b, which the child reads and writes in its own copy.
func (s *Script) Mem(b []byte) uintptr {
	return Array(s, b)
}

// Array is the address of list, numbers as the kernel has them, for the child.
func Array[T byte | uint32 | uintptr](s *Script, list []T) uintptr {
	s.keep = append(s.keep, list)
	return uintptr(unsafe.Pointer(unsafe.SliceData(list)))
}

// Write appends what opens file, writes text and closes it, and returns the
// index of the write, which tells the error of the open as well.
func (s *Script) Write(file, text string, must bool) int {
	open := s.Open(file, unix.O_WRONLY)
	n := s.Add(Call{
		Nr: unix.SYS_WRITE, Args: [6]uintptr{0, s.Str(text), uintptr(len(text))},
		From: [6]uint8{uint8(open + 1)}, Must: must,
	})
	s.Close(open)
	return n
}

// Open appends an openat(2) of path.
func (s *Script) Open(path string, flags int) int {
	return s.Do(unix.SYS_OPENAT, atCWD(), s.Str(path), uintptr(flags)|unix.O_CLOEXEC, 0o600)
}

// Close appends the close(2) of what call open gave.
func (s *Script) Close(open int) {
	s.Add(Call{Nr: unix.SYS_CLOSE, From: [6]uint8{uint8(open + 1)}})
}

func atCWD() uintptr {
	at := unix.AT_FDCWD
	return uintptr(at)
}

// Running is a script under way.
type Running struct {
	pid  int
	page []byte
	n    int
	done int // the end of a pipe that tells that all calls were made
	hold int // the end of a pipe that the child waits for; -1: none
}

// Start makes the child.
func (s *Script) Start() (*Running, error) {
	size := len(s.calls) * int(unsafe.Sizeof(Answer{}))
	page, err := unix.Mmap(-1, 0, size+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	p := &scriptPlan{
		flags: s.Flags | uintptr(unix.SIGCHLD), calls: s.calls,
		answers: unsafe.Slice((*Answer)(unsafe.Pointer(&page[0])), len(s.calls)),
		hold:    [2]int{-1, -1},
	}
	err = unix.Pipe2(p.done[:], unix.O_CLOEXEC)
	if err == nil && s.Hold {
		if err = unix.Pipe2(p.hold[:], unix.O_CLOEXEC); err != nil {
			unix.Close(p.done[0])
			unix.Close(p.done[1])
		}
	}
	if err != nil {
		unix.Munmap(page)
		return nil, os.NewSyscallError("pipe2", err)
	}
	for _, i := range s.ourEnd {
		s.calls[i].Args[0] = uintptr(p.done[0])
	}
	for _, i := range s.itsEnd {
		s.calls[i].Args[0] = uintptr(p.done[1])
	}
	runtime.LockOSThread()
	pid, errno := forkScript(p)
	runtime.UnlockOSThread()
	runtime.KeepAlive(s)
	unix.Close(p.done[1])
	if s.Hold {
		unix.Close(p.hold[0])
	}
	r := &Running{pid: pid, page: page, n: len(s.calls), done: p.done[0], hold: p.hold[1]}
	if errno != 0 {
		r.close()
		return nil, os.NewSyscallError("clone", errno)
	}
	return r, nil
}

// PID is the child's.
func (r *Running) PID() int { return r.pid }

// Answers waits until all calls were made, or the child has died: then some
// are not Done. It is called once, before End.
func (r *Running) Answers() []Answer {
	var b [1]byte
	for {
		if _, err := unix.Read(r.done, b[:]); err != unix.EINTR {
			break
		}
	}
	return r.answers()
}

func (r *Running) answers() []Answer {
	out := make([]Answer, r.n)
	copy(out, unsafe.Slice((*Answer)(unsafe.Pointer(&r.page[0])), r.n))
	return out
}

// wait waits until the child has let go of its end of the pipe: it has executed a
// program, or ended.
func (r *Running) wait() {
	var b [8]byte
	for {
		if n, err := unix.Read(r.done, b[:]); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// End lets the child go. What the kernel takes down with it (mounts above all)
// takes its time, so nobody waits for that but a goroutine.
func (r *Running) End() {
	if r.hold >= 0 {
		// By a byte, too: another child may just have been made, with a copy
		// of our end of the pipe.
		unix.Write(r.hold, []byte{0})
	}
	r.close()
	go reap(r.pid)
}

func (r *Running) close() {
	unix.Close(r.done)
	if r.hold >= 0 {
		unix.Close(r.hold)
	}
	unix.Munmap(r.page)
}

// Run makes the child, has it make the calls, and lets it go.
func (s *Script) Run() ([]Answer, error) {
	r, err := s.Start()
	if err != nil {
		return nil, err
	}
	defer r.End()
	return r.Answers(), nil
}

// Here makes the calls on the calling thread, without a child.
func (s *Script) Here() []Answer {
	p := &scriptPlan{calls: s.calls, answers: make([]Answer, len(s.calls))}
	p.run()
	runtime.KeepAlive(s)
	return p.answers
}

type scriptPlan struct {
	flags   uintptr
	calls   []Call
	answers []Answer // in memory shared with the child
	done    [2]int
	hold    [2]int
	byte    [8]byte
}

// forkScript is forkBlocked for scripts.
//
//go:noinline
//go:norace
func forkScript(p *scriptPlan) (int, syscall.Errno) {
	var all, old [2]uint64
	all[0], all[1] = ^uint64(0), ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, p.flags, 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		scriptMain(p)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return int(pid), errno
}

// scriptMain runs in the child: no allocation, no stack growth, no lock.
//
//go:nosplit
//go:norace
func scriptMain(p *scriptPlan) {
	p.run()
	// With a copy of our end open the child would not see us end.
	if p.hold[0] >= 0 {
		syscall.RawSyscall(unix.SYS_CLOSE, uintptr(p.hold[1]), 0, 0)
	}
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.done[1]), uintptr(unsafe.Pointer(&p.byte)), 1)
	if p.hold[0] >= 0 {
		syscall.RawSyscall(unix.SYS_READ, uintptr(p.hold[0]), uintptr(unsafe.Pointer(&p.byte)), 1)
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// run makes the calls. From and Unless point backwards only. A failed call
// passes its errno on to those that would use its result.
//
//go:nosplit
//go:norace
func (p *scriptPlan) run() {
	for i := 0; i < len(p.calls) && i < len(p.answers); i++ {
		c := &p.calls[i]
		a := &p.answers[i]
		if k := int(c.Unless) - 1; k >= 0 && k < i && p.answers[k].Errno == 0 {
			a.Ret, a.Done = p.answers[k].Ret, true
			continue
		}
		args := c.Args
		for j := 0; j < len(args); j++ {
			k := int(c.From[j]) - 1
			if k < 0 || k >= i {
				continue
			}
			args[j] = p.answers[k].Ret
			if p.answers[k].Errno != 0 {
				a.Errno = p.answers[k].Errno
			}
		}
		if a.Errno == 0 {
			a.Ret, _, a.Errno = syscall.RawSyscall6(c.Nr, args[0], args[1], args[2], args[3], args[4], args[5])
		}
		a.Done = true
		if a.Errno != 0 && c.Must {
			break
		}
	}
}
