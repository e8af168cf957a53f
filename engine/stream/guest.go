package stream

import (
	"bufio"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Guest is a client that a monitor gets from the process that starts it, before
// it has a socket: nothing that is said at the start is missed.
type Guest struct {
	c    net.Conn
	lock *sync.Mutex
}

// Couple makes a client and the descriptor for the monitor that it will talk to.
func Couple() (*Client, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far := os.NewFile(uintptr(fds[1]), "monitor")
	c, err := connOf(os.NewFile(uintptr(fds[0]), "guest"))
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return &Client{c: c, r: bufio.NewReaderSize(c, bufSize)}, far, nil
}

// NewGuest is the other end.
func NewGuest(f *os.File) (*Guest, error) {
	c, err := connOf(f)
	if err != nil {
		return nil, err
	}
	return &Guest{c: c, lock: new(sync.Mutex)}, nil
}

// connOf takes a socket over; f is closed.
func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, os.ErrInvalid
	}
	return u, nil
}

// Sink gives it all output.
func (g *Guest) Sink() *Sink {
	return &Sink{Stdout: frames{g.c, g.lock, frameOut}, Stderr: frames{g.c, g.lock, frameErr}}
}

// Serve takes what it types, until it leaves; by its keys tells how.
func (g *Guest) Serve(p *Pump, signal func(syscall.Signal) error) (byKeys bool) {
	return listen(bufio.NewReaderSize(g.c, 4096), Request{Stdin: true}, p, signal)
}

// Farewell tells it the exit code. All output must have been delivered.
func (g *Guest) Farewell(code int) { farewellTo(g.c, g.lock, code) }

// Welcome makes a guest one of the clients; it has its sink already.
func (s *Server) Welcome(g *Guest, sink *Sink) {
	s.mu.Lock()
	s.conns[g.c] = g.lock
	pump := s.pump
	s.busy.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.busy.Done()
		s.host(g.c, bufio.NewReaderSize(g.c, 4096), Request{Stdin: true}, pump, sink)
	}()
}
