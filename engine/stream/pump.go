// Package stream carries a container's standard streams: from its pipes or its
// terminal to the log, to the caller and to whoever attaches, and back.
package stream

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bufSize  = 64 << 10
	pipeSize = 256 << 10 // fewer switches between container and monitor; best effort
)

// Options describe a process's streams.
type Options struct {
	Tty   bool
	Stdin bool // the process has one; else it reads /dev/null
	// Log and ErrLog get everything, first; nil: no log. They never block for
	// long and never fail.
	Log, ErrLog io.Writer
}

// Pump moves the bytes of one process.
type Pump struct {
	opt     Options
	child   []*os.File // the process's ends, until it runs
	stdin   *os.File   // our ends
	outs    [2]*os.File
	console *os.File

	mu     sync.Mutex
	sinks  []*Sink
	copies sync.WaitGroup
	moved  atomic.Uint32 // counts reads: whether there is progress
	inside atomic.Int32  // copies that are delivering, not waiting for the process
	closed bool          // stdin
}

// Sink is someone who gets the output. An error of a writer detaches it.
type Sink struct {
	Stdout, Stderr io.Writer
	// Reader: the process's stream ends when this one's reader is gone, as it
	// would with a pipe in between: `run IMAGE yes | head -1` ends.
	Reader bool
}

// New makes the pipes.
func New(opt Options) (*Pump, error) {
	p := &Pump{opt: opt}
	if opt.Tty {
		return p, nil
	}
	p.child = make([]*os.File, 3)
	if opt.Stdin {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p.child[0], p.stdin = r, w
	}
	for i := range p.outs {
		r, w, err := os.Pipe()
		if err != nil {
			p.Abort()
			return nil, err
		}
		unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, pipeSize)
		unix.SetNonblock(int(r.Fd()), true) // Fd made it blocking
		p.outs[i], p.child[i+1] = r, w
	}
	return p, nil
}

// Child are the process's ends; nil where it has none or has a terminal.
func (p *Pump) Child() (stdin, stdout, stderr *os.File) {
	if p.opt.Tty {
		return nil, nil, nil
	}
	return p.child[0], p.child[1], p.child[2]
}

// Abort closes all of a pump that was never started.
func (p *Pump) Abort() {
	for _, f := range append(p.child, p.stdin, p.outs[0], p.outs[1]) {
		if f != nil {
			f.Close()
		}
	}
}

// Started begins to move bytes; console is the terminal's master, if there is
// one.
func (p *Pump) Started(console *os.File) {
	for _, f := range p.child {
		if f != nil {
			f.Close()
		}
	}
	p.child = nil
	if p.opt.Tty {
		p.console = console
		p.outs[0] = console
		if console == nil {
			return
		}
	}
	for i, f := range p.outs {
		if f == nil {
			continue
		}
		p.copies.Add(1)
		go func() {
			defer p.copies.Done()
			p.copy(i, f)
		}()
	}
}

// copy reads one stream to its end. The terminal's end is EIO.
func (p *Pump) copy(i int, f *os.File) {
	log := p.opt.Log
	if i == 1 {
		log = p.opt.ErrLog
	}
	buf := make([]byte, bufSize)
	for {
		n, err := f.Read(buf)
		p.moved.Add(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.pass(i, log, leftIn(f))
			return
		}
		if n > 0 && p.pass(i, log, buf[:n]) {
			f.Close()
			return
		}
		if err != nil {
			return
		}
	}
}

// pass hands data to the log and to all sinks.
func (p *Pump) pass(i int, log io.Writer, data []byte) (gone bool) {
	p.inside.Add(1)
	defer p.inside.Add(-1)
	if log != nil {
		log.Write(data)
	}
	return p.deliver(i, data)
}

// leftIn reads what is in a pipe or terminal, and does not wait for more: what a
// process had written before its end is not lost, however late we are.
func leftIn(f *os.File) (data []byte) {
	c, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	c.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ) // FIONREAD
		if err != nil || n <= 0 {
			return
		}
		data = make([]byte, n)
		n, _ = unix.Read(int(fd), data)
		data = data[:max(0, n)]
	})
	return data
}

// deliver hands data to all sinks; gone: the reader that counts has left.
func (p *Pump) deliver(i int, data []byte) (gone bool) {
	p.mu.Lock()
	sinks := p.sinks
	p.mu.Unlock()
	for _, s := range sinks {
		w := s.Stdout
		if i == 1 {
			w = s.Stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(data); err != nil {
			if s.Reader && errors.Is(err, syscall.EPIPE) {
				gone = true
				continue
			}
			p.Remove(s)
		}
	}
	return gone
}

// Add attaches a sink.
func (p *Pump) Add(s *Sink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sinks = append(append([]*Sink(nil), p.sinks...), s)
}

// Remove detaches a sink.
func (p *Pump) Remove(s *Sink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rest []*Sink
	for _, have := range p.sinks {
		if have != s {
			rest = append(rest, have)
		}
	}
	p.sinks = rest
}

// Write is the process's stdin.
func (p *Pump) Write(data []byte) (int, error) {
	f := p.stdin
	if p.opt.Tty {
		f = p.console
	}
	if f == nil || !p.opt.Stdin {
		return 0, os.ErrClosed
	}
	return f.Write(data)
}

// CloseStdin gives the process the end of its stdin. A terminal has none.
func (p *Pump) CloseStdin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdin != nil && !p.closed {
		p.closed = true
		p.stdin.Close()
	}
}

// Feed copies r to the process's stdin until either ends, and closes it.
func (p *Pump) Feed(r io.Reader) {
	io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{r}, make([]byte, bufSize))
	p.CloseStdin()
}

// Resize sets the terminal's size.
func (p *Pump) Resize(rows, cols uint16) {
	if p.console == nil || rows == 0 && cols == 0 {
		return
	}
	// Not Fd(), which would make the descriptor blocking.
	if c, err := p.console.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) {
			unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		})
	}
}

// Finish waits until all output was read and delivered. The process is gone; if
// a stranger still holds its pipes (one that was left alive on purpose, or that
// could not be found), what has not come after grace without any is not waited
// for.
func (p *Pump) Finish(grace time.Duration) {
	done := make(chan struct{})
	go func() { p.copies.Wait(); close(done) }()
	for last := p.moved.Load(); ; {
		t := time.NewTimer(grace)
		select {
		case <-done:
			t.Stop()
			p.close()
			return
		case <-t.C:
		}
		if now := p.moved.Load(); now != last || p.inside.Load() > 0 || p.unread() {
			last = now
			continue
		}
		for _, f := range p.outs {
			if f != nil && f.SetReadDeadline(time.Now()) != nil {
				f.Close()
			}
		}
		<-done
		p.close()
		return
	}
}

// unread tells whether output waits that was not come to: on a machine that is
// short of processors a copy may not have run all the while.
func (p *Pump) unread() bool {
	waits := false
	for _, f := range p.outs {
		if f == nil {
			continue
		}
		conn, err := f.SyscallConn()
		if err != nil {
			continue
		}
		_ = conn.Control(func(fd uintptr) {
			n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			waits = waits || err == nil && n > 0
		})
	}
	return waits
}

func (p *Pump) close() {
	p.CloseStdin()
	for _, f := range p.outs {
		if f != nil {
			f.Close()
		}
	}
}
