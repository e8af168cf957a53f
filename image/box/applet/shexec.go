package applet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// signalled is the cause of a context that a signal ended.
type signalled syscall.Signal

func (s signalled) Error() string { return "signal " + strconv.Itoa(int(s)) }

func codeOf(ctx context.Context) int {
	var sig signalled
	if errors.As(context.Cause(ctx), &sig) {
		return 128 + int(sig)
	}
	return 130
}

// onCall sees every simple command before it runs.
func (s *shell) onCall(ctx context.Context, args []string) ([]string, error) {
	hc := interp.HandlerCtx(ctx)
	if j := s.jobs.of(hc.Env); j != nil {
		if j.ctx.Err() != nil {
			return []string{"exit", strconv.Itoa(codeOf(j.ctx))}, nil
		}
	} else if s.traps.waiting() && !hc.Env.Get(varSub).IsSet() {
		return append([]string{callTrapped}, args...), nil
	}
	switch args[0] {
	case "trap", "kill", "umask", "ulimit", "jobs", "wait", "test", "[":
		return append([]string{"box:" + args[0]}, args[1:]...), nil
	case "exec":
		if len(args) > 1 {
			return append([]string{"box:exec"}, args[1:]...), nil
		}
	case "printf":
		// The interpreter's has no precisions; ours has no -v.
		if len(args) > 1 && args[1] != "-v" {
			return append([]string{"box:printf"}, args[1:]...), nil
		}
	}
	return args, nil
}

const callTrapped = "box:trapped"

// onExec runs what is neither a function nor a builtin of the interpreter.
func (s *shell) onExec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	if rest, ok := strings.CutPrefix(args[0], "box:"); ok {
		return s.own(ctx, &hc, rest, args[1:])
	}
	return s.command(ctx, &hc, args)
}

// own are the builtins of this shell.
func (s *shell) own(ctx context.Context, hc *interp.HandlerContext, name string, args []string) error {
	switch name {
	case "fork":
		return hc.Builtin(ctx, []string{"eval", varJob + "=" + s.jobs.fork(ctx, s.ctx, hc.Env)})
	case "forked":
		return hc.Builtin(ctx, []string{"eval", varJob + "=" + s.jobs.forked(hc.Env, args)})
	case "sub":
		return hc.Builtin(ctx, []string{"eval", varSub + "=1"})
	case "end":
		if s.traps.waiting() {
			if err := s.traps.act(ctx, hc); err != nil {
				return err
			}
		}
		return exitStatus(hc.LastExitStatus)
	case "trapped":
		return s.trapped(ctx, hc, args)
	case "trap":
		return s.trap(ctx, hc, args)
	case "wait":
		return s.wait(ctx, hc, args)
	case "kill":
		return s.kill(hc, args)
	case "test", "[", "printf":
		run, _ := Lookup(name)
		std := Stdio{In: hc.Stdin, Out: hc.Stdout, Err: hc.Stderr, Dir: hc.Dir}
		return exitStatus(run(ctx, std, append([]string{name}, args...)))
	case "umask":
		return exitStatus(umask(hc, args))
	case "ulimit":
		return exitStatus(ulimit(hc, args))
	case "jobs":
		return nil
	case "exec":
		return s.exec(ctx, hc, args)
	}
	fmt.Fprintf(hc.Stderr, "%s: box:%s: not found\n", s.arg0, name)
	return exitStatus(127)
}

func exitStatus(code int) error {
	if code == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(code))
}

// command runs an applet here, or a program.
func (s *shell) command(ctx context.Context, hc *interp.HandlerContext, args []string) error {
	ctx, done := s.foreground(ctx, hc)
	defer done()
	path, err := interp.LookPathDir(hc.Dir, hc.Env, args[0])
	run, isApplet := Lookup(args[0])
	switch {
	case !isApplet:
	case err != nil:
		path = self()
	case !isSelf(path):
		isApplet = false // PATH has another program of that name
	}
	var code int
	switch {
	case isApplet && s.inProcess(args[0]):
		code = apart(ctx, run, hc, args)
	case isApplet:
		code = s.spawn(ctx, hc, path, args) // by its own name, for ps and pidof
	case err == nil:
		code = s.spawn(ctx, hc, path, args)
	default:
		code = s.notFound(hc, args[0], err)
	}
	if ctx.Err() != nil {
		if j := s.jobs.of(hc.Env); j != nil || s.tail {
			return hc.Builtin(ctx, []string{"exit", strconv.Itoa(codeOf(ctx))})
		}
		code = codeOf(ctx)
	}
	return exitStatus(code)
}

func (s *shell) notFound(hc *interp.HandlerContext, name string, err error) int {
	code, why := 127, "not found"
	if strings.Contains(name, "/") {
		p := name
		if !filepath.IsAbs(p) {
			p = filepath.Join(hc.Dir, p)
		}
		if fi, serr := os.Stat(p); serr == nil {
			code, why = 126, "permission denied"
			if fi.IsDir() {
				why = "is a directory"
			}
		} else {
			why = reason(serr)
		}
	} else if strings.Contains(err.Error(), "permission denied") {
		code, why = 126, "permission denied"
	}
	fmt.Fprintf(hc.Stderr, "%s: %s: %s\n", s.arg0, name, why)
	return code
}

// inProcess: a shell has traps and a PID of its own; and at a terminal every
// command gets a process, so that Ctrl-C ends it wherever it stands.
func (s *shell) inProcess(name string) bool {
	if self() == "" {
		return true
	}
	return name != "sh" && name != "box" && !s.interactive
}

// apart runs an applet and leaves it behind if it does not heed the end of its
// context, being in a read that nothing can interrupt.
func apart(ctx context.Context, run Run, hc *interp.HandlerContext, args []string) int {
	std := Stdio{In: hc.Stdin, Out: hc.Stdout, Err: hc.Stderr, Dir: hc.Dir, Env: exported(hc.Env)}
	if f, ok := hc.Stdin.(*os.File); ok && f == nil {
		std.In = nil
	}
	result := make(chan int, 1)
	go func() { result <- run(ctx, std, args) }()
	select {
	case code := <-result:
		return code
	case <-ctx.Done():
	}
	select {
	case code := <-result:
		return code
	case <-time.After(100 * time.Millisecond):
		return codeOf(ctx)
	}
}

// exported lists the environment of a command.
func exported(env expand.Environ) []string {
	list := make([]string, 0, 32)
	seen := map[string]int{}
	for name, v := range env.Each {
		if i, ok := seen[name]; ok {
			list[i] = ""
		}
		// The interpreter forgets that PWD was exported.
		if v.IsSet() && (v.Exported || name == "PWD") && v.Kind == expand.String {
			seen[name] = len(list)
			list = append(list, name+"="+v.String())
		}
	}
	n := 0
	for _, kv := range list {
		if kv != "" {
			list[n] = kv
			n++
		}
	}
	return list[:n]
}

// self is a path to execute this program by, "" if there is none.
func self() string { return selfOnce().path }

func isSelf(path string) bool {
	me := selfOnce().info
	if me == nil {
		return false
	}
	fi, err := os.Stat(path)
	return err == nil && os.SameFile(fi, me)
}

type me struct {
	path string
	info os.FileInfo
}

var (
	meOnce sync.Once
	meIs   me
)

func selfOnce() me {
	meOnce.Do(func() {
		for _, p := range []string{"/proc/self/exe", "/bin/box"} {
			if fi, err := os.Stat(p); err == nil {
				meIs = me{p, fi}
				return
			}
		}
	})
	return meIs
}

// spawn runs a program and returns its exit code.
func (s *shell) spawn(ctx context.Context, hc *interp.HandlerContext, path string, args []string) int {
	cmd := exec.Command(path)
	cmd.Args, cmd.Dir, cmd.Env = args, hc.Dir, exported(hc.Env)
	cmd.Stdout, cmd.Stderr = hc.Stdout, hc.Stderr
	if f, ok := hc.Stdin.(*os.File); ok && f != nil {
		cmd.Stdin = f
	}
	err := startBusy(cmd)
	if errors.Is(err, syscall.ENOEXEC) && self() != "" {
		// A script without "#!": POSIX has the shell run it.
		return s.spawn(ctx, hc, self(), append([]string{"sh", path}, args[1:]...))
	}
	if err != nil {
		fmt.Fprintf(hc.Stderr, "%s: %s: %s\n", s.arg0, args[0], reason(err))
		if errors.Is(err, os.ErrNotExist) {
			return 127
		}
		return 126
	}
	stop := context.AfterFunc(ctx, func() {
		sig := syscall.Signal(codeOf(ctx) - 128)
		cmd.Process.Signal(sig)
	})
	err = cmd.Wait()
	stop()
	return waitCode(cmd, err)
}

// startBusy retries ETXTBSY: a process forked by another goroutine holds our
// descriptor of a freshly written program for the moment until its exec.
func startBusy(cmd *exec.Cmd) error {
	for delay := time.Millisecond; ; delay *= 2 {
		err := cmd.Start()
		if !errors.Is(err, syscall.ETXTBSY) || delay > 200*time.Millisecond {
			return err
		}
		time.Sleep(delay)
		again := exec.Command(cmd.Path)
		again.Args, again.Dir, again.Env = cmd.Args, cmd.Dir, cmd.Env
		again.Stdin, again.Stdout, again.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
		*cmd = *again
	}
}

func waitCode(cmd *exec.Cmd, err error) int {
	if cmd.ProcessState == nil {
		return 126
	}
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1
}

// exec replaces the shell, so that what it starts has its PID: the last line
// of many a container's entry point. In a subshell, or with jobs still running
// in this process, the command is run and then the shell ends.
func (s *shell) exec(ctx context.Context, hc *interp.HandlerContext, args []string) error {
	path, err := interp.LookPathDir(hc.Dir, hc.Env, args[0])
	_, isApplet := Lookup(args[0])
	if isApplet && err != nil {
		path, err = self(), nil
	}
	if err != nil {
		code := s.notFound(hc, args[0], err)
		return hc.Builtin(ctx, []string{"exit", strconv.Itoa(code)})
	}
	in, ok1 := hc.Stdin.(*os.File)
	out, ok2 := hc.Stdout.(*os.File)
	er, ok3 := hc.Stderr.(*os.File)
	if s.process && ok1 && ok2 && ok3 && in != nil && path != "" && s.jobs.none() &&
		!hc.Env.Get(varSub).IsSet() && s.jobs.of(hc.Env) == nil {
		err := replace(path, args, hc, []*os.File{in, out, er})
		fmt.Fprintf(hc.Stderr, "%s: %s: %s\n", s.arg0, args[0], reason(err))
		return hc.Builtin(ctx, []string{"exit", "126"})
	}
	err = s.command(ctx, hc, args)
	code := 0
	var st interp.ExitStatus
	if errors.As(err, &st) {
		code = int(st)
	}
	return hc.Builtin(ctx, []string{"exit", strconv.Itoa(code)})
}

// deathSignal is what the kernel sends us when our parent dies (PR_SET_PDEATHSIG). It
// is the first thread's, and no other has it.
var deathSignal int32

// replace executes the program in our place.
func replace(path string, args []string, hc *interp.HandlerContext, std []*os.File) error {
	if err := os.Chdir(hc.Dir); err != nil {
		return err
	}
	// Copies above 2 first: one may stand where another goes.
	for i, f := range std {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 10)
		if err != nil {
			return err
		}
		unix.CloseOnExec(fd)
		std[i] = os.NewFile(uintptr(fd), f.Name())
	}
	for i, f := range std {
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			return err
		}
		if err := dup2(int(f.Fd()), i); err != nil {
			return err
		}
	}
	env := exported(hc.Env)
	// This thread is the only one of the program's.
	runtime.LockOSThread()
	if deathSignal != 0 {
		unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(deathSignal), 0, 0, 0)
	}
	err := syscall.Exec(path, args, env)
	if errors.Is(err, syscall.ENOEXEC) && self() != "" {
		err = syscall.Exec(self(), append([]string{"sh", path}, args[1:]...), env)
	}
	return err
}

// foreground makes the context of a command: its job's, or one that SIGINT
// ends.
func (s *shell) foreground(ctx context.Context, hc *interp.HandlerContext) (context.Context, func()) {
	if j := s.jobs.of(hc.Env); j != nil {
		return j.ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	r := &running{cancel}
	s.jobs.mu.Lock()
	s.jobs.running[r] = true
	s.jobs.mu.Unlock()
	return ctx, func() {
		s.jobs.mu.Lock()
		delete(s.jobs.running, r)
		s.jobs.mu.Unlock()
		cancel(nil)
	}
}

// interrupt ends the commands in the foreground, as the terminal's SIGINT does
// to processes; it reports how many there were.
func (j *jobs) interrupt(sig syscall.Signal) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	for r := range j.running {
		r.cancel(signalled(sig))
	}
	return len(j.running)
}

func (j *jobs) of(env expand.Environ) *job {
	v := env.Get(varJob)
	if !v.IsSet() || v.Str == "" {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all[v.Str]
}

// fork makes a job; its context is not the caller's command's, which ends.
func (j *jobs) fork(_, base context.Context, env expand.Environ) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	n := strconv.Itoa(j.next)
	parent := env.Get(varJob).Str
	if p := j.all[parent]; p != nil {
		base = p.ctx
	}
	ctx, cancel := context.WithCancelCause(base)
	j.all[n] = &job{parent: parent, ctx: ctx, cancel: cancel}
	return n
}

// forked notes what $! is for the job just started, and returns the number of
// the job that started it.
func (j *jobs) forked(env expand.Environ, args []string) string {
	jb := j.of(env)
	if jb == nil || len(args) == 0 {
		return ""
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	jb.pid = args[0]
	return jb.parent
}

func (j *jobs) none() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next == 0
}

// find is the job that pid names in env.
func (j *jobs) find(env expand.Environ, pid string) *job {
	parent := env.Get(varJob).Str
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, jb := range j.all {
		if jb.parent == parent && jb.pid == pid {
			return jb
		}
	}
	return nil
}

// kill is the applet, and for jobs of this shell the end of their context.
func (s *shell) kill(hc *interp.HandlerContext, args []string) error {
	sig := syscall.SIGTERM
	var rest []string
	var code int
	for i, a := range args {
		jb := s.jobs.find(hc.Env, a)
		if jb == nil {
			if strings.HasPrefix(a, "-") && i == 0 {
				if n, ok := signalNumber(strings.TrimPrefix(a, "-")); ok {
					sig = n
				} else if a == "-s" && len(args) > 1 {
					sig, _ = signalNumber(args[1])
				}
			}
			rest = append(rest, a)
			continue
		}
		if sig == 0 {
			if jb.ctx.Err() != nil {
				code = 1
			}
		} else {
			jb.cancel(signalled(sig))
		}
	}
	operands := 0
	for i, a := range rest {
		if i > 0 || !strings.HasPrefix(a, "-") {
			operands++
		}
	}
	if len(rest) == len(args) || operands > 0 && !(operands == 1 && len(rest) > 1 && rest[0] == "-s") {
		run, _ := Lookup("kill")
		std := Stdio{In: nil, Out: hc.Stdout, Err: hc.Stderr, Dir: hc.Dir}
		if n := run(s.ctx, std, append([]string{"kill"}, rest...)); n != 0 {
			code = n
		}
	}
	return exitStatus(code)
}
