// Package isolate is the contract of isolation drivers: how a container's
// processes are started, entered and swept away.
//
// # Lifecycle
//
// The monitor (the process that owns a container) calls Start once with a
// [Bundle]. The driver starts the second stage (package stage: this same
// binary again, as the container's first process), which mounts the root,
// confines itself and executes the program of the spec. Start returns when the
// program has been executed or has failed to. Wait returns its exit status.
// Enter starts another process in a container that runs. Sweep kills whatever
// is left and undoes what the driver did to the host (mounts of a driver
// without mount namespaces); it may be called by another process than the one
// that called Start, after a crash, and more than once.
//
// Drivers speak the OCI runtime spec and know nothing of images, names or
// state directories.
package isolate

import (
	"context"
	"os"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Driver isolates containers in one way. Its methods may be called from
// several goroutines.
type Driver interface {
	// Name is the rung's name in backends/all.go.
	Name() string
	// Start runs the container's first process. An error that says that the
	// program could not be executed is an *ExecError.
	Start(ctx context.Context, b *Bundle) (Process, error)
	// Enter runs one more process in the running container t.
	Enter(ctx context.Context, t Target, e *Entry) (Process, error)
	// Sweep kills every process of the container and undoes host-side mounts.
	// Nothing to do is not an error.
	Sweep(ctx context.Context, t Target) error
	// Processes lists the host PIDs of the container's processes.
	Processes(t Target) ([]int, error)
}

// Bundle is what Start needs.
type Bundle struct {
	ID string
	// Spec is the container's OCI spec. Spec.Root.Path is an existing host
	// directory: the place where RootMounts are mounted, or, with none, the
	// root filesystem itself. Spec.Root.Readonly makes it read-only after all
	// other mounts are in place. Namespaces with a path are joined.
	Spec *specs.Spec
	// RootMounts are mounted on Spec.Root.Path in order, inside the
	// container's own mount namespace where there is one, so that a crash
	// leaves nothing in the host's mount table. Destination is empty. The
	// option "x-chdir=DIR" makes the second stage change to DIR before the
	// mount, so that relative lowerdirs keep within mount(2)'s one page.
	RootMounts []specs.Mount
	// RunDir is a private directory of the container on the host that does not
	// outlive a boot; the driver may keep files in it.
	RunDir string
	IO     IO
	// Init keeps a small init of ours as the container's first process, which
	// reaps orphans and passes signals on.
	Init bool
	// Agent keeps an agent (package agent) as the container's first process,
	// which does what Init does and starts the processes of Enter. A driver
	// that enters without the kernel's help ignores it.
	Agent bool
	// Seccomp is the compiled filter (struct sock_filter array, native byte
	// order), called after the second stage was started, so that it is made
	// while that process starts. nil: no filter.
	Seccomp func() ([]byte, error)
	// Doors opens what lets the first process go into its control groups by
	// itself, before it does anything else (limits.Doors); the driver closes
	// them. nil, or none: it is put into them.
	Doors func() ([]int, error)
	// Joined is called with the host PID of the first process before it
	// touches anything: the place to put it into its control groups. Not where
	// it went through Doors.
	Joined func(pid int) error
	// User ("name", "uid", "name:group" …) is resolved inside the container's
	// root by the second stage; empty: Spec.Process.User as it is.
	User     string
	GroupAdd []string // additional groups, names or numbers
	// Loopback brings lo up in the container's own network namespace.
	Loopback bool
	// Wire is called after Joined, also where Doors are used, with the host PID
	// of the first process, and says what that is to do in the container's own
	// network namespace before anything else (nil: nothing). Opened gets the
	// descriptors that it opened there, before the program is executed.
	Wire   func(pid int) (*Net, error)
	Opened func(files map[string]*os.File) error
	Nice   int
}

// Entry is one more process for a running container.
type Entry struct {
	// Process is given at least the capabilities of the container's own processes.
	Process  *specs.Process
	User     string
	GroupAdd []string
	IO       IO
	Seccomp  func() ([]byte, error)
	Doors    func() ([]int, error)
	Joined   func(pid int) error
}

// IO is a process's standard streams. With Terminal the driver makes a
// pseudo-terminal in the container's own devpts, gives its slave to the
// process as all three streams and returns the master by Process.Console; the
// three files are then ignored.
type IO struct {
	Stdin, Stdout, Stderr *os.File
	Terminal              bool
	Rows, Cols            uint16
}

// Target names a running (or crashed) container.
type Target struct {
	ID  string
	PID int // host PID of its first process; 0: not known
	// StartTime is field 22 of /proc/PID/stat when PID was started, in clock
	// ticks since boot, so that a recycled PID is never touched.
	StartTime  uint64
	Agent      bool // it was started with an agent
	Spec       *specs.Spec
	RootMounts []specs.Mount
	RunDir     string
}

// Process is a process started by a driver; our own child.
type Process interface {
	PID() int
	StartTime() uint64
	// Console is the terminal's master, nil without one. The caller closes it.
	Console() *os.File
	Signal(sig syscall.Signal) error
	// Wait blocks until the process ended. ws is as of wait4(2). It is called
	// once.
	Wait() (ws syscall.WaitStatus, err error)
	// Warnings tell what the kernel refused and the container goes without.
	Warnings() []string
}

// ExecError says that the container was set up, but its program could not be
// executed. Errno is ENOENT (exit code 127), EACCES, ENOEXEC, EISDIR … (126).
type ExecError struct {
	Path  string
	Errno syscall.Errno
	// Reason tells more where errno does not (wrong architecture, missing
	// interpreter, libc newer than the kernel); may be empty.
	Reason string
}

func (e *ExecError) Error() string {
	s := "exec " + e.Path + ": " + e.Errno.Error()
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

func (e *ExecError) Unwrap() error { return e.Errno }

// StageError says in which step the second stage failed ("mount /proc") and
// why; errno stays reachable.
type StageError struct {
	Step  string
	Errno syscall.Errno // 0: not a system call's failure
	Msg   string
}

func (e *StageError) Error() string {
	if e.Errno != 0 {
		return e.Step + ": " + e.Errno.Error()
	}
	return e.Step + ": " + e.Msg
}

func (e *StageError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
