package applet

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// traps are the actions of signals. The interpreter knows those of EXIT and
// ERR only. An action runs between two commands of the shell's own process,
// as POSIX has it, and a signal ends a wait.
type traps struct {
	s  *shell
	ch chan os.Signal

	mu      sync.Mutex
	action  map[syscall.Signal]string
	pending []syscall.Signal
	arrived chan struct{} // closed and renewed at each arrival
	busy    bool
	stop    chan struct{}
}

func (t *traps) init(s *shell) {
	t.s = s
	t.action = map[syscall.Signal]string{}
	t.arrived = make(chan struct{})
	t.stop = make(chan struct{})
	if !s.process {
		return
	}
	switch {
	case s.interactive:
		t.listen(syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
		signal.Ignore(syscall.SIGTSTP) // no job control: nobody could continue it
	case os.Getpid() == 1:
		// Taken, not ignored: an ignored signal stays so in children.
		t.listen(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	default:
		t.listen(syscall.SIGQUIT)
	}
}

// listen has signals delivered to us.
func (t *traps) listen(sigs ...os.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ch == nil {
		t.ch = make(chan os.Signal, 16)
		go t.receive()
	}
	signal.Notify(t.ch, sigs...)
}

func (t *traps) close() {
	close(t.stop)
	if t.ch != nil {
		signal.Stop(t.ch)
	}
}

func (t *traps) receive() {
	for {
		select {
		case <-t.stop:
			return
		case sig := <-t.ch:
			n, _ := sig.(syscall.Signal)
			t.take(n)
		}
	}
}

func (t *traps) take(sig syscall.Signal) {
	t.mu.Lock()
	_, trapped := t.action[sig]
	if trapped {
		t.pending = append(t.pending, sig)
		close(t.arrived)
		t.arrived = make(chan struct{})
	}
	t.mu.Unlock()
	switch {
	case sig == syscall.SIGINT && (trapped || t.s.interactive):
		t.s.jobs.interrupt(sig)
	case trapped || t.s.interactive:
	case t.s.tail:
		// The one command is what the signal was for; the shell ends with it.
		if t.s.jobs.interrupt(sig) == 0 {
			os.Exit(128 + int(sig))
		}
	case sig == syscall.SIGINT || sig == syscall.SIGQUIT:
		// As PID 1 the kernel would have dropped it; but it comes from a
		// person at a terminal who wants to leave.
		os.Exit(128 + int(sig))
	}
	// TERM and HUP of a PID 1 without a trap: the kernel's default, nothing.
}

func (t *traps) waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.pending) > 0 && !t.busy
}

// act runs the actions of what has arrived.
func (t *traps) act(ctx context.Context, hc *interp.HandlerContext) error {
	for {
		t.mu.Lock()
		if len(t.pending) == 0 || t.busy {
			t.mu.Unlock()
			return nil
		}
		sig := t.pending[0]
		t.pending = t.pending[1:]
		action := t.action[sig]
		t.busy = true
		t.mu.Unlock()
		err := hc.Builtin(ctx, []string{"eval", action})
		t.mu.Lock()
		t.busy = false
		t.mu.Unlock()
		if t.s.ended(err) {
			return err
		}
	}
}

// ended tells an action that left the shell from one that merely failed.
func (s *shell) ended(err error) bool {
	// The interpreter's error type is its own: only reflection reads it.
	v := reflect.ValueOf(err)
	if v.Kind() != reflect.Struct {
		return false
	}
	f := v.FieldByName("exiting")
	return f.IsValid() && f.Bool()
}

// trapped runs the actions that wait, and then the command they came before.
func (s *shell) trapped(ctx context.Context, hc *interp.HandlerContext, args []string) error {
	if err := s.traps.act(ctx, hc); err != nil {
		return err
	}
	quoted := make([]string, len(args))
	for i, a := range args {
		q, err := syntax.Quote(a, syntax.LangBash)
		if err != nil {
			return exitStatus(1)
		}
		quoted[i] = q
	}
	return hc.Builtin(ctx, []string{"eval", strings.Join(quoted, " ")})
}

// trap is the builtin.
func (s *shell) trap(ctx context.Context, hc *interp.HandlerContext, args []string) error {
	if len(args) > 0 && args[0] == "-l" {
		for n := 1; n < 32; n++ {
			fmt.Fprintf(hc.Stdout, "%2d) %s\n", n, unix.SignalName(syscall.Signal(n)))
		}
		return nil
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "-p" {
		s.traps.show(hc)
		return hc.Builtin(ctx, []string{"trap"})
	}
	action := "-"
	names := args
	if len(args) > 1 {
		action, names = args[0], args[1:]
	}
	code := 0
	for _, name := range names {
		switch sig, ok := signalNumber(name); {
		case name == "EXIT" || name == "ERR" || name == "0":
			if name == "0" {
				name = "EXIT"
			}
			if err := hc.Builtin(ctx, []string{"trap", "--", action, name}); err != nil {
				return err
			}
		case !ok || sig == 0:
			fmt.Fprintf(hc.Stderr, "%s: trap: %s: invalid signal specification\n", s.arg0, name)
			code = 1
		case hc.Env.Get(varSub).IsSet() || s.jobs.of(hc.Env) != nil:
			// A subshell is a goroutine and gets no signals.
		default:
			s.traps.set(sig, action)
		}
	}
	return exitStatus(code)
}

func (t *traps) set(sig syscall.Signal, action string) {
	t.mu.Lock()
	switch action {
	case "-", "":
		delete(t.action, sig)
	default:
		t.action[sig] = action
	}
	t.mu.Unlock()
	switch action {
	case "":
		signal.Ignore(sig) // and children inherit it, as they should
	case "-":
		signal.Reset(sig)
		if t.s.process && (t.s.interactive || os.Getpid() == 1 || sig == syscall.SIGQUIT) {
			t.listen(sig)
		}
	default:
		t.listen(sig)
	}
}

func (t *traps) show(hc *interp.HandlerContext) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var sigs []int
	for sig := range t.action {
		sigs = append(sigs, int(sig))
	}
	sort.Ints(sigs)
	for _, n := range sigs {
		sig := syscall.Signal(n)
		fmt.Fprintf(hc.Stdout, "trap -- '%s' %s\n", strings.ReplaceAll(t.action[sig], "'", `'\''`), strings.TrimPrefix(unix.SignalName(sig), "SIG"))
	}
}

// wait is the interpreter's, given up when a trapped signal arrives.
func (s *shell) wait(ctx context.Context, hc *interp.HandlerContext, args []string) error {
	t := &s.traps
	t.mu.Lock()
	arrived, none := t.arrived, len(t.action) == 0
	t.mu.Unlock()
	var code int
	if none || s.jobs.of(hc.Env) != nil {
		return hc.Builtin(ctx, append([]string{"wait"}, args...))
	}
	result := make(chan error, 1)
	go func() { result <- hc.Builtin(ctx, append([]string{"wait"}, args...)) }()
	select {
	case err := <-result:
		return err
	case <-arrived:
		t.mu.Lock()
		if len(t.pending) > 0 {
			code = 128 + int(t.pending[0])
		}
		t.mu.Unlock()
	}
	return exitStatus(code)
}

func umask(hc *interp.HandlerContext, args []string) int {
	if len(args) == 0 {
		old := syscall.Umask(0)
		syscall.Umask(old)
		fmt.Fprintf(hc.Stdout, "%04o\n", old)
		return 0
	}
	n, err := strconv.ParseUint(args[0], 8, 12)
	if err != nil {
		fmt.Fprintf(hc.Stderr, "umask: invalid mode %q\n", args[0])
		return 1
	}
	syscall.Umask(int(n))
	return 0
}

func ulimit(hc *interp.HandlerContext, args []string) int {
	which := "n"
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		which = strings.Trim(args[0], "-SH")
		args = args[1:]
	}
	res, unit, ok := rlimitOf(which)
	if !ok {
		fmt.Fprintf(hc.Stderr, "ulimit: -%s: not supported\n", which)
		return 2
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(res, &lim); err != nil {
		fmt.Fprintf(hc.Stderr, "ulimit: %v\n", err)
		return 1
	}
	if len(args) == 0 {
		if lim.Cur == unix.RLIM_INFINITY&(1<<64-1) {
			fmt.Fprintln(hc.Stdout, "unlimited")
		} else {
			fmt.Fprintln(hc.Stdout, lim.Cur/unit)
		}
		return 0
	}
	lim.Cur = 1<<64 - 1
	if args[0] != "unlimited" {
		n, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			fmt.Fprintf(hc.Stderr, "ulimit: invalid number %q\n", args[0])
			return 1
		}
		lim.Cur = n * unit
	}
	lim.Max = lim.Cur
	if err := sys.Setrlimit(res, lim.Cur, lim.Max); err != nil {
		fmt.Fprintf(hc.Stderr, "ulimit: %v\n", err)
		return 1
	}
	return 0
}

func rlimitOf(which string) (res int, unit uint64, ok bool) {
	switch which {
	case "n":
		return unix.RLIMIT_NOFILE, 1, true
	case "u":
		return unix.RLIMIT_NPROC, 1, true
	case "c":
		return unix.RLIMIT_CORE, 512, true
	case "f":
		return unix.RLIMIT_FSIZE, 512, true
	case "s":
		return unix.RLIMIT_STACK, 1024, true
	case "v":
		return unix.RLIMIT_AS, 1024, true
	case "l":
		return unix.RLIMIT_MEMLOCK, 1024, true
	case "t":
		return unix.RLIMIT_CPU, 1, true
	}
	return 0, 0, false
}
