// Package launch starts the second stage for the isolation drivers: the fork in
// other namespaces, the talk with the stage, and the process that comes of it.
//
// Drivers call it; nobody else does.
package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"coracle/backends/isolate"
	"coracle/backends/isolate/agent"
	"coracle/backends/isolate/stage"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Plan is what a driver decided.
type Plan struct {
	Fork    sys.Fork // Path, Args, Env, Files and Deathsig are filled in here
	Config  stage.Config
	IO      isolate.IO
	Seccomp func() ([]byte, error)
	Doors   func() ([]int, error)
	Joined  func(pid int) error
	Wire    func(pid int) (*isolate.Net, error)
	Opened  func(files map[string]*os.File) error
	// RunDir is the bundle's or the target's; an agent's socket is in it.
	RunDir string
	// Extra is passed to the stage as descriptor 4.
	Extra *os.File
	// Trees are mounts that stay the host's peers (Peers); they are passed to the
	// stage, too.
	Trees []*os.File
	// CopyIn is a directory; where not empty, the stage is a nameless copy of
	// our binary, made there or in memory.
	CopyIn string
}

// Start forks the stage, tells it its configuration and waits until the program
// was executed.
//
// The container is to die with its monitor, but the kernel sends the death
// signal when the parent *thread* ends (prctl(2), PR_SET_PDEATHSIG), and Go ends
// threads. So the fork happens on a thread that is kept until the process was
// waited for.
func Start(ctx context.Context, p *Plan) (isolate.Process, error) {
	exe, named, err := sys.Self()
	if err != nil {
		return nil, err
	}
	if !named && p.Fork.Shield {
		// A file without a name cannot be bound on itself.
		p.CopyIn, p.Fork.Shield = p.RunDir, false
	}
	talk, err := newTalk(p.IO)
	if err != nil {
		return nil, err
	}
	defer talk.close()
	if p.CopyIn != "" {
		var f *os.File
		if f, exe, err = ownCopy(p.CopyIn); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	// One thread of Go code and no collector: the stage does one thing after the
	// other and ends in exec. It made a whole run a quarter faster. Nor is the
	// runtime to open the host's control groups for their share of CPU time.
	p.Fork.Path, p.Fork.Args, p.Fork.Env = exe, []string{stage.Name}, []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=containermaxprocs=0"}
	p.Fork.Files = talk.files[:]
	if p.Config.Agent {
		if p.Extra, err = agent.Listen(p.RunDir); err != nil {
			return nil, err
		}
		defer p.Extra.Close()
	}
	if p.Extra != nil {
		p.Fork.Files = append(p.Fork.Files, int(p.Extra.Fd()))
	}
	p.Config.FirstTree = len(p.Fork.Files)
	for _, f := range p.Trees {
		p.Fork.Files = append(p.Fork.Files, int(f.Fd()))
	}
	p.Config.Trees = len(p.Trees)
	p.Fork.Deathsig = syscall.SIGKILL
	proc := newProcess()
	if err := proc.fork(p); err != nil {
		return nil, err
	}
	talk.theirs.Close()
	if err := proc.instruct(ctx, talk.ours, p); err != nil {
		proc.abandon()
		return nil, err
	}
	sys.Rest() // from now on we wait
	return proc, nil
}

// talk is the socket between a stage and us, and the streams that it is given.
type talk struct {
	ours, theirs, null *os.File
	files              [4]int // the stage's descriptors 0 to 3
}

func newTalk(streams isolate.IO) (*talk, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		null.Close()
		return nil, os.NewSyscallError("socketpair", err)
	}
	t := &talk{ours: os.NewFile(uintptr(pair[0]), "monitor"), theirs: os.NewFile(uintptr(pair[1]), "stage"), null: null}
	t.files = [4]int{stream(streams.Stdin, null, streams), stream(streams.Stdout, null, streams), stream(streams.Stderr, null, streams), pair[1]}
	return t, nil
}

func (t *talk) close() {
	t.ours.Close()
	t.theirs.Close()
	t.null.Close()
}

func stream(f, null *os.File, io isolate.IO) int {
	if f == nil || io.Terminal {
		return int(null.Fd())
	}
	return int(f.Fd())
}

// process is a child that became the container's program.
type process struct {
	pid      int
	start    uint64
	console  *os.File
	warnings []string
	done     chan struct{}
	kill     func(sig syscall.Signal) error
	status   syscall.WaitStatus
	err      error
	mu       sync.Mutex
	reaped   bool
}

var _ isolate.Process = (*process)(nil)

func newProcess() *process {
	p := &process{done: make(chan struct{})}
	p.kill = func(sig syscall.Signal) error { return os.NewSyscallError("kill", syscall.Kill(p.pid, sig)) }
	return p
}

func (p *process) PID() int           { return p.pid }
func (p *process) StartTime() uint64  { return p.start }
func (p *process) Console() *os.File  { return p.console }
func (p *process) Warnings() []string { return p.warnings }

// fork forks on a thread of its own and keeps that thread.
func (p *process) fork(plan *Plan) error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		var err error
		if plan.Doors != nil {
			plan.Fork.Groups, err = plan.Doors()
		}
		if err == nil {
			p.pid, err = plan.Fork.Exec()
		}
		for _, fd := range plan.Fork.Groups {
			unix.Close(fd)
		}
		result <- err
		if err != nil {
			return
		}
		p.wait()
	}()
	return <-result
}

// wait waits on the forking thread itself, which is thereby kept.
func (p *process) wait() {
	defer close(p.done)
	// First without reaping, so that nobody signals a recycled PID.
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(p.pid, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		p.status, p.err = ws, os.NewSyscallError("wait4", err)
		return
	}
}

func (p *process) Wait() (syscall.WaitStatus, error) {
	<-p.done
	return p.status, p.err
}

func (p *process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return p.kill(sig)
}

func (p *process) abandon() {
	p.Signal(syscall.SIGKILL)
	<-p.done
	if p.console != nil {
		p.console.Close()
	}
}

// instruct sends the configuration and hears the stage out.
func (p *process) instruct(ctx context.Context, conn *os.File, plan *Plan) error {
	p.start = StartTime(p.pid)
	if inside := len(plan.Fork.Groups) > 0 && !plan.Fork.Outside; plan.Joined != nil && !inside {
		if err := plan.Joined(p.pid); err != nil {
			return err
		}
	}
	if plan.Wire != nil {
		var err error
		if plan.Config.Net, err = plan.Wire(p.pid); err != nil {
			return err
		}
	}
	if plan.Seccomp != nil {
		filter, err := plan.Seccomp()
		if err != nil {
			return err
		}
		plan.Config.Seccomp = filter
	}
	err := stage.Send(conn, &plan.Config)
	if plan.Config.Agent && err == nil {
		err = stage.Send(conn, plan.Config.ForProgram())
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("tell the second stage: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { p.Signal(syscall.SIGKILL) })
	defer stop()
	answer, err := stage.Listen(int(conn.Fd()), plan.Opened)
	p.console, p.warnings = answer.Console, answer.Warnings
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// StartTime is when process pid was started, in clock ticks since boot; 0 where
// it cannot be read.
func StartTime(pid int) uint64 {
	s, _ := sys.ProcStat(pid)
	return s.Start
}

// Alive tells whether t's first process still runs and is the one meant.
func Alive(t isolate.Target) bool {
	if t.PID <= 0 {
		return false
	}
	now := StartTime(t.PID)
	return now != 0 && (t.StartTime == 0 || now == t.StartTime)
}

// HostSources resolves symbolic links in the sources of bind mounts: the stage
// reaches them relative to the host's root, where an absolute link would lead
// into the container.
func HostSources(s *specs.Spec) error {
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if m.Type != "bind" || m.Source == "" {
			continue
		}
		real, err := filepath.EvalSymlinks(m.Source)
		if err != nil {
			return fmt.Errorf("bind source: %w", err)
		}
		m.Source = real
	}
	return nil
}

// CloneFlag is the clone(2) flag of a namespace type; 0 for one that clone does
// not make at start.
func CloneFlag(t specs.LinuxNamespaceType) uintptr {
	switch t {
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS
	case specs.MountNamespace:
		return unix.CLONE_NEWNS
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER
	}
	return 0
}
