package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"coracle/backends"
	"coracle/backends/isolate"
	"coracle/engine/machine"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// MonitorName is argv[0] of a detached monitor; FileOpName that of the helper
// that works on files of other IDs in a user namespace.
const (
	MonitorName = "coracle-monitor"
	FileOpName  = machine.FileOpName
)

// errand is what a detached monitor is told, on its standard input.
type errand struct {
	Root, Run string
	Wish      backends.Wish
	Strict    bool
	ID        string
	// Exec, where set: not a container but one more process of it.
	Exec *container.ExecCreateRequest
	// Visit, where set: the caller is connected on guestFD.
	Visit *visit
}

// outcome is what it answers, on descriptor 3, when the container runs or does
// not.
type outcome struct {
	Warnings []string
	Failed   bool
	Kind     Kind
	Msg      string
	Exec     *isolate.ExecError
}

const answerFD = 3

func (o *outcome) err() error {
	if !o.Failed {
		return nil
	}
	e := &Error{Kind: o.Kind, Msg: o.Msg}
	if o.Exec != nil {
		e.Err = o.Exec
	}
	return e
}

func outcomeOf(warnings []string, err error) outcome {
	o := outcome{Warnings: warnings, Failed: err != nil}
	if err == nil {
		return o
	}
	o.Msg = err.Error()
	var e *Error
	if errors.As(err, &e) {
		o.Kind = e.Kind
	}
	errors.As(err, &o.Exec)
	return o
}

// Start starts a container; one monitor process stays with it.
func (e *Engine) Start(ctx context.Context, ref string) error {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	if state.Paused {
		return fail(Conflict, nil, "cannot start a paused container, try unpause instead")
	}
	if state.Running {
		return fail(NotModified, nil, "container %s is already running", c.ID)
	}
	lock, err := e.store.Lock(c)
	if err != nil {
		return noContainer(ref, err)
	}
	defer lock.Release()
	return startLocked(ctx, e, c, errand{ID: c.ID})
}

// startLocked starts c, whose object lock is held.
func startLocked(ctx context.Context, e *Engine, c *record.Container, what errand, guest ...*os.File) error {
	err := e.spawn(ctx, what, guest...)
	if err != nil && c.HostConfig.AutoRemove && !isKind(err, NotModified) && !c.Alive() {
		if e2 := e.sweeper.Discard(context.WithoutCancel(ctx), c, true); e2 != nil {
			e.opt.Warn("remove container " + c.ID[:12] + ": " + e2.Error())
		}
	}
	return err
}

// spawn starts a detached monitor and waits for its answer. guest is the end of
// the conversation of what.Visit.
func (e *Engine) spawn(ctx context.Context, what errand, guest ...*os.File) error {
	what.Root, what.Run, what.Wish, what.Strict = e.opt.Root, e.opt.Run, e.opt.Wish, e.opt.Strict
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	exe, err := record.Program()
	if err != nil {
		return err
	}
	in, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	hear, out, err := os.Pipe()
	if err != nil {
		in.Close()
		tell.Close()
		return err
	}
	defer hear.Close()
	// The heap of a monitor is small and its life long.
	args := []string{MonitorName}
	if guest != nil {
		args = append(args, withGuest)
	}
	cmd := &exec.Cmd{
		Path: exe, Args: args, Dir: "/", Env: append(os.Environ(), "GOGC=25", "GOMAXPROCS=2"),
		Stdin: in, ExtraFiles: append([]*os.File{out}, guest...), SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	in.Close()
	out.Close()
	if err != nil {
		tell.Close()
		return err
	}
	_, err = tell.Write(data)
	tell.Close()
	if err == nil {
		stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
		defer stop()
		var reply []byte
		if reply, err = io.ReadAll(hear); err == nil {
			var o outcome
			if json.Unmarshal(reply, &o) == nil {
				for _, w := range o.Warnings {
					e.opt.Warn(w)
				}
				if o.Failed {
					cmd.Wait()
				} else {
					go cmd.Wait() // for callers that live longer than it
				}
				return o.err()
			}
			err = errors.New("the monitor died")
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fail(Internal, err, "start monitor: %v", err)
}

// MonitorMain is the main of a process called by MonitorName; it returns the
// exit code.
func MonitorMain(args []string) int {
	last := answerFD
	if len(args) > 1 && args[1] == withGuest {
		last = guestFD
	}
	record.CloseInherited(last)
	data, err := io.ReadAll(os.Stdin)
	var what errand
	if err == nil {
		err = json.Unmarshal(data, &what)
	}
	answer := os.NewFile(answerFD, "answer")
	if err != nil {
		return 125
	}
	for fd := answerFD; fd <= last; fd++ {
		unix.CloseOnExec(fd)
	}
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			// dup2 is not there on arm64.
			unix.Dup3(int(null.Fd()), fd, 0)
		}
		null.Close()
	}
	var mu sync.Mutex
	var warnings []string
	collecting := true
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, err := Open(ctx, Options{
		Root: what.Root, Run: what.Run, Wish: what.Wish, Strict: what.Strict,
		Warn: func(s string) {
			mu.Lock()
			defer mu.Unlock()
			if collecting {
				warnings = append(warnings, s)
			}
		},
	})
	report := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		collecting = false
		json.NewEncoder(answer).Encode(outcomeOf(warnings, err))
		answer.Close()
	}
	if err != nil {
		report(err)
		return 125
	}
	signals := make(chan os.Signal, 16)
	// A broken answer pipe (the caller was killed) is no reason to end.
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	if what.Exec != nil {
		return e.execDetached(ctx, what, report)
	}
	return e.watch(ctx, cancel, &what, signals, report)
}

// watch is a detached container's monitor. The object lock is held by the
// process that started us.
func (e *Engine) watch(ctx context.Context, cancel func(), what *errand, signals <-chan os.Signal, report func(error)) int {
	c, err := e.store.Load(what.ID)
	if err != nil {
		report(noContainer(what.ID, err))
		return 125
	}
	with, err := what.attended()
	if err != nil {
		report(err)
		return 125
	}
	started := make(chan struct{})
	var l *life
	go func() {
		for sig := range signals {
			select {
			case <-started:
				l.told(sig)
			default:
				if sig == syscall.SIGTERM {
					cancel()
				}
			}
		}
	}()
	l, err = e.begin(ctx, c, with)
	if err != nil {
		report(wrapStart(c, err))
		return 125
	}
	close(started)
	report(nil)
	debug.FreeOSMemory()
	return l.wait()
}

// told is what a detached monitor does with a signal: the machine goes down, so
// the container gets its stop signal, and its time.
func (l *life) told(sig os.Signal) {
	if sig != syscall.SIGTERM && sig != syscall.SIGINT {
		return
	}
	s, grace := stopSettings(l.c)
	l.kill(s, order{final: true})
	if grace >= 0 {
		time.AfterFunc(grace, func() { l.kill(syscall.SIGKILL, order{final: true}) })
	}
}

// FileOpMain is the main of a process called by FileOpName.
func FileOpMain() int { return machine.FileOpMain() }
