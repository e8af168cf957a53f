package command

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"coracle/engine"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// attachment says which of our streams a container gets.
type attachment struct {
	stdin, stdout, stderr bool
	terminal              bool        // the container has one
	signals               []os.Signal // passed on
	keys                  []byte
}

// checkTerminal refuses a terminal whose input is none, as Docker's CLI does.
func (t *tool) checkTerminal(stdin, tty bool) error {
	if tty && stdin && !t.inputIsTerminal() {
		return &usageError{t.spelling, errors.New("the input device is not a TTY"), 1}
	}
	return nil
}

func (s Stdio) inputIsTerminal() bool { return s.In != nil && term.IsTerminal(int(s.In.Fd())) }

func (s Stdio) outputIsTerminal() bool {
	f, ok := s.Out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// streams makes the caller's ends of a container's streams. restore puts the
// terminal and the signals back; it may be called more than once.
func (o Stdio) streams(a attachment) (s engine.Streams, restore func(), err error) {
	var undo []func()
	var once sync.Once
	restore = func() {
		once.Do(func() {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		})
	}
	if a.stdout {
		s.Stdout = o.Out
	}
	if a.stderr {
		s.Stderr = o.Err
	}
	var raw *rawTerminal
	if a.stdin {
		s.Stdin = o.In
		if a.terminal && o.inputIsTerminal() {
			if raw, err = makeRaw(o.In); err != nil {
				return s, restore, err
			}
			undo = append(undo, raw.restore)
			s.Terminal, s.DetachKeys = true, a.keys
		}
	}
	if a.terminal {
		s.Size = o.terminalSize()
	}
	sigs, stop := forward(a.signals, a.terminal, raw)
	undo = append(undo, stop)
	s.Signals = sigs
	return s, restore, nil
}

// terminalSize asks the output's terminal, or the input's; nil without either.
func (s Stdio) terminalSize() func() (rows, cols uint16) {
	var files []*os.File
	for _, w := range []io.Writer{s.Out, s.Err} {
		if f, ok := w.(*os.File); ok {
			files = append(files, f)
		}
	}
	files = append(files, s.In)
	for _, f := range files {
		if f == nil || !term.IsTerminal(int(f.Fd())) {
			continue
		}
		return func() (uint16, uint16) {
			ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
			if err != nil {
				return 0, 0
			}
			return ws.Row, ws.Col
		}
	}
	return nil
}

// rawTerminal is a terminal that hands every key to the container.
type rawTerminal struct {
	fd   int
	mu   sync.Mutex
	was  *term.State // nil: restored
	mode *term.State
}

func makeRaw(f *os.File) (*rawTerminal, error) {
	fd := int(f.Fd())
	was, err := term.MakeRaw(fd)
	if err != nil {
		return nil, os.NewSyscallError("put the terminal in raw mode", err)
	}
	mode, err := term.GetState(fd)
	if err != nil {
		term.Restore(fd, was)
		return nil, os.NewSyscallError("read the terminal's mode", err)
	}
	return &rawTerminal{fd: fd, was: was, mode: mode}, nil
}

func (r *rawTerminal) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.was != nil {
		term.Restore(r.fd, r.was)
		r.was = nil
	}
}

// again sets raw mode once more: the shell changed it while we were stopped.
func (r *rawTerminal) again() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.was != nil {
		term.Restore(r.fd, r.mode)
	}
}

// forward catches what is to be passed on, and changes of the terminal's size.
func forward(signals []os.Signal, terminal bool, raw *rawTerminal) (<-chan os.Signal, func()) {
	// A burst of signals must not be lost while the container starts.
	in, out, done := make(chan os.Signal, 128), make(chan os.Signal, 128), make(chan struct{})
	var catch, later []os.Signal
	for _, sig := range signals {
		if slices.Contains(often, sig) {
			catch = append(catch, sig)
		} else {
			later = append(later, sig)
		}
	}
	if terminal {
		catch = append(catch, syscall.SIGWINCH, syscall.SIGCONT)
	}
	if len(catch) == 0 {
		return nil, func() {}
	}
	signal.Notify(in, catch...)
	go func() {
		soon := time.NewTimer(settleIn)
		defer soon.Stop()
		for {
			select {
			case <-done:
				return
			case <-soon.C:
				if len(later) > 0 {
					signal.Notify(in, later...)
				}
			case sig := <-in:
				if sig == syscall.SIGCONT && terminal {
					raw.again()
					sig = syscall.SIGWINCH
				}
				select {
				case out <- sig:
				case <-done:
					return
				}
			}
		}
	}()
	return out, func() {
		close(done)
		// Nobody waits for it: the runtime switches threads for each signal, half
		// a millisecond for all, and we are about to end.
		go signal.Stop(in)
	}
}

// often are those that people, shells and supervisors send. The others of a run are
// caught a little later: Go's runtime switches threads twice for each, a millisecond
// for all of them.
var often = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGCONT}

const settleIn = 50 * time.Millisecond

// common are what an exec passes on; Docker's CLI passes none at all.
func common() []os.Signal {
	return heard(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
}

// proxied are all signals but those that tell of our own children, pipes and
// job control, and those that Go's runtime sends itself; none unless asked for.
func proxied(asked bool) []os.Signal {
	if !asked {
		return nil
	}
	var all []os.Signal
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG,
			syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGPROF, syscall.SIGWINCH, 32, 33, 34:
			continue
		}
		all = append(all, n)
	}
	return heard(all...)
}

// heard are those of list that our caller has not had us ignore (nohup, a shell's
// background job).
func heard(list ...os.Signal) []os.Signal {
	return slices.DeleteFunc(list, signal.Ignored)
}
