// Package crew runs several commands of ours that stay in the foreground as one:
// each is begun when those that it needs are up, and ended when those that need
// it have ended. It knows nothing of containers.
package crew

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// FD is the descriptor on which a member says that it is ready: it writes a line.
const FD = 3

// Member is one command.
type Member struct {
	Name string
	Args []string
	// Needs are members that must be ready before; Waits those that must have
	// ended well.
	Needs, Waits []string
}

// Crew is all of them.
type Crew struct {
	Path    string // the program
	Members []Member
	// Output takes what a member writes, and is closed when it has ended.
	Output func(name string) io.WriteCloser
	// Ready is called once, when every member is ready or has ended well.
	Ready func()
	// Ended is told of each member's end.
	Ended func(name string, code int)

	all  []*hand
	stop chan struct{}
	once sync.Once
	mu   sync.Mutex
	err  error
}

// hand is a member at work.
type hand struct {
	Member
	ready, done chan struct{}
	code        int // once done; -1: it was never begun
	mu          sync.Mutex
	proc        *os.Process // nil: it was not begun
}

// Run runs all to their ends: those of themselves, or that of SIGTERM or SIGINT,
// after which all are stopped, the last first; other signals are passed on. The
// code is that of a member that failed, 0 after a stop that was asked for.
func (c *Crew) Run(signals <-chan os.Signal) (code int, err error) {
	c.stop = make(chan struct{})
	for _, m := range c.Members {
		c.all = append(c.all, &hand{Member: m, ready: make(chan struct{}), done: make(chan struct{}), code: -1})
	}
	if err := c.sound(); err != nil {
		return 125, err
	}
	var wg sync.WaitGroup
	for _, h := range c.all {
		wg.Go(func() { c.work(h) })
		wg.Go(func() { c.end(h) })
	}
	over := make(chan struct{})
	go c.announce(over)
	asked := make(chan struct{})
	go c.heed(signals, asked, over)
	wg.Wait()
	close(over)
	select {
	case <-asked:
		return 0, nil
	default:
	}
	for _, h := range c.all {
		if h.code > 0 && code == 0 {
			code = h.code
		}
	}
	return code, c.err
}

// sound refuses members that wait for each other.
func (c *Crew) sound() error {
	state := map[string]int{}
	var visit func(h *hand) error
	visit = func(h *hand) error {
		switch state[h.Name] {
		case 1:
			return fmt.Errorf("%s waits for itself", h.Name)
		case 2:
			return nil
		}
		state[h.Name] = 1
		for _, name := range append(slices.Clone(h.Needs), h.Waits...) {
			other := c.find(name)
			if other == nil {
				return fmt.Errorf("%s waits for %s, which is not there", h.Name, name)
			}
			if err := visit(other); err != nil {
				return err
			}
		}
		state[h.Name] = 2
		return nil
	}
	for _, h := range c.all {
		if err := visit(h); err != nil {
			return err
		}
	}
	return nil
}

func (c *Crew) find(name string) *hand {
	for _, h := range c.all {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// fail ends all.
func (c *Crew) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.halt()
}

func (c *Crew) halt() { c.once.Do(func() { close(c.stop) }) }

// awaits waits for what h needs; false: it is not to begin.
func (c *Crew) awaits(h *hand) bool {
	for _, name := range h.Needs {
		other := c.find(name)
		select {
		case <-other.ready:
		case <-other.done:
			if !closed(other.ready) {
				c.fail(fmt.Errorf("%s has ended before it was ready, and %s needs it", name, h.Name))
				return false
			}
		case <-c.stop:
			return false
		}
	}
	for _, name := range h.Waits {
		other := c.find(name)
		select {
		case <-other.done:
			if other.code != 0 {
				c.fail(fmt.Errorf("%s has failed, and %s waits for it", name, h.Name))
				return false
			}
		case <-c.stop:
			return false
		}
	}
	return !closed(c.stop)
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// work is one member's life.
func (c *Crew) work(h *hand) {
	defer close(h.done)
	if !c.awaits(h) {
		return
	}
	// The kernel kills the member when the thread that began it ends: not before us.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out := c.Output(h.Name)
	defer out.Close()
	hear, tell, err := os.Pipe()
	if err != nil {
		c.fail(err)
		return
	}
	defer hear.Close()
	cmd := &exec.Cmd{
		Path: c.Path, Args: append([]string{c.Path}, h.Args...), Stdout: out, Stderr: out, ExtraFiles: []*os.File{tell},
		// Signals to our own process group are ours to pass on.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true},
	}
	h.mu.Lock()
	err = cmd.Start()
	if err == nil {
		h.proc = cmd.Process
	}
	h.mu.Unlock()
	tell.Close()
	if err != nil {
		c.fail(err)
		return
	}
	go func() {
		if n, _ := hear.Read(make([]byte, 1)); n == 1 {
			close(h.ready)
		}
	}()
	if closed(c.stop) {
		h.signal(syscall.SIGTERM) // nobody may have seen that it was begun
	}
	_ = cmd.Wait() // its error is the exit code
	h.code = codeOf(cmd.ProcessState)
	c.Ended(h.Name, h.code)
}

func codeOf(s *os.ProcessState) int {
	if s == nil {
		return 125
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// end ends a member when all are to end and those that need it have.
func (c *Crew) end(h *hand) {
	select {
	case <-h.done:
		return
	case <-c.stop:
	}
	for _, other := range c.all {
		if slices.Contains(other.Needs, h.Name) || slices.Contains(other.Waits, h.Name) {
			<-other.done
		}
	}
	h.signal(syscall.SIGTERM)
}

func (h *hand) signal(sig syscall.Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.proc != nil {
		_ = h.proc.Signal(sig)
	}
}

// announce waits until all are ready.
func (c *Crew) announce(over <-chan struct{}) {
	for _, h := range c.all {
		select {
		case <-h.ready:
		case <-h.done:
			if h.code != 0 && !closed(h.ready) {
				return
			}
		case <-over:
			return
		}
	}
	if !closed(c.stop) {
		c.Ready()
	}
}

// heed does what signals say.
func (c *Crew) heed(signals <-chan os.Signal, asked, over chan struct{}) {
	for {
		select {
		case <-over:
			return
		case sig, ok := <-signals:
			n, isSignal := sig.(syscall.Signal)
			switch {
			case !ok:
				return
			case !isSignal, n == syscall.SIGCHLD, n == syscall.SIGPIPE, n == syscall.SIGURG, n == syscall.SIGWINCH:
			case n == syscall.SIGTERM, n == syscall.SIGINT:
				if !closed(asked) {
					close(asked)
				}
				c.halt()
			default:
				for _, h := range c.all {
					h.signal(n)
				}
			}
		}
	}
}
