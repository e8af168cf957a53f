package stream

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The monitor's socket. A client sends a line of JSON, a Request; then frames go
// both ways: one byte of type, four of length (big-endian), the payload.
const (
	frameIn     = 'i' // stdin
	frameInEOF  = 'e' // end of stdin
	frameSize   = 'r' // rows and columns, two bytes each
	frameSignal = 's' // one byte
	frameLeave  = 'd' // the client leaves by its keys
	frameOut    = 'o'
	frameErr    = 'x'
	frameExit   = 'c' // exit code, four bytes; the last one

	maxFrame = 1 << 20
	// farewell is how long a client may make no progress after the end.
	farewell = 30 * time.Second
)

// SocketName is the socket's name in the container's run directory.
const SocketName = "monitor.sock"

// Request is what a client wants: streams, or one order done.
type Request struct {
	Stdin, Stdout, Stderr bool
	Order                 *Order `json:",omitempty"`
}

// Order is something that the monitor is to do. The answer is a line of JSON, an
// Answer.
type Order struct {
	Do     string
	Signal syscall.Signal `json:",omitempty"`
	// Keep: the container is not removed at this end (--rm), because it is
	// started again.
	Keep bool `json:",omitempty"`
	// Undo is done when who gave the order leaves, or is killed.
	Undo string `json:",omitempty"`
}

// Answer is what came of an order.
type Answer struct {
	Err  string          `json:",omitempty"`
	Kind int             `json:",omitempty"` // the caller's class of Err
	Data json.RawMessage `json:",omitempty"`
}

// Owner is the monitor behind a server.
type Owner interface {
	// Signal passes a signal to the process.
	Signal(sig syscall.Signal) error
	Do(o Order) Answer
}

// Server answers at the monitor's socket, for all runs of a container.
type Server struct {
	l     *net.UnixListener
	owner Owner

	mu      sync.Mutex
	pump    *Pump // nil between two runs
	conns   map[net.Conn]*sync.Mutex
	strange map[net.Conn]bool // have not said yet what they want
	busy    sync.WaitGroup
	dir     *os.File
	closing bool
}

// address reaches a socket by a descriptor of its directory, because a socket's
// path is bounded to 108 bytes (unix(7)) and state directories are not.
func address(dir string) (*os.File, *net.UnixAddr, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return d, &net.UnixAddr{Net: "unix", Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + SocketName}, nil
}

// Serve listens in dir.
func Serve(dir string, pump *Pump, owner Owner) (*Server, error) {
	os.Remove(dir + "/" + SocketName)
	d, addr, err := address(dir)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		d.Close()
		return nil, err
	}
	s := &Server{l: l, pump: pump, owner: owner, conns: map[net.Conn]*sync.Mutex{}, strange: map[net.Conn]bool{}, dir: d}
	go s.accept()
	return s, nil
}

func (s *Server) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.strange[c] = true
		s.busy.Add(1)
		s.mu.Unlock()
		go s.client(c)
	}
}

func (s *Server) client(c net.Conn) {
	defer s.busy.Done()
	r := bufio.NewReaderSize(c, 4096)
	line, err := r.ReadSlice('\n')
	var req Request
	if err == nil {
		err = json.Unmarshal(line, &req)
	}
	if err != nil {
		s.drop(c)
		c.Close()
		return
	}
	if req.Order != nil {
		s.drop(c)
		s.obey(c, *req.Order)
		return
	}
	lock := new(sync.Mutex)
	s.mu.Lock()
	_, open := s.strange[c]
	delete(s.strange, c)
	if open {
		s.conns[c] = lock
	}
	pump := s.pump
	s.mu.Unlock()
	if !open {
		return // Close has it
	}
	var sink *Sink
	if pump != nil && (req.Stdout || req.Stderr) {
		sink = &Sink{}
		if req.Stdout {
			sink.Stdout = frames{c, lock, frameOut}
		}
		if req.Stderr {
			sink.Stderr = frames{c, lock, frameErr}
		}
		pump.Add(sink)
	}
	s.host(c, r, req, pump, sink)
}

// host serves a client until it leaves.
func (s *Server) host(c net.Conn, r *bufio.Reader, req Request, pump *Pump, sink *Sink) {
	listen(r, req, pump, s.owner.Signal)
	s.mu.Lock()
	_, ours := s.conns[c]
	s.mu.Unlock()
	if !ours {
		return // Part has it
	}
	if sink != nil {
		pump.Remove(sink)
	}
	s.drop(c)
	c.Close()
}

// obey does what it is told and answers.
func (s *Server) obey(c net.Conn, o Order) {
	a := s.owner.Do(o)
	reply(c, a)
	if o.Undo == "" || a.Err != "" {
		c.Close()
		return
	}
	// Nobody waits for this at the end: the container may end first.
	go func() {
		defer c.Close()
		io.Copy(io.Discard, c)
		reply(c, s.owner.Do(Order{Do: o.Undo}))
	}()
}

func reply(c net.Conn, a Answer) {
	if data, err := json.Marshal(a); err == nil {
		c.SetWriteDeadline(time.Now().Add(farewell))
		c.Write(append(data, '\n'))
	}
}

// listen takes what the client sends, until it leaves; byKeys, if it said that it
// would.
func listen(r *bufio.Reader, req Request, pump *Pump, signal func(syscall.Signal) error) (byKeys bool) {
	for {
		kind, data, err := readFrame(r)
		if err != nil {
			return byKeys
		}
		switch kind {
		case frameIn:
			if req.Stdin && pump != nil {
				pump.Write(data)
			}
		case frameInEOF:
			if req.Stdin && pump != nil {
				pump.CloseStdin()
			}
		case frameSize:
			if len(data) == 4 && pump != nil {
				pump.Resize(binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]))
			}
		case frameSignal:
			if len(data) == 1 {
				signal(syscall.Signal(data[0]))
			}
		case frameLeave:
			byKeys = true
		}
	}
}

func (s *Server) drop(c net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	delete(s.strange, c)
	s.mu.Unlock()
}

// Join gives the streams of a new run.
func (s *Server) Join(p *Pump) {
	s.mu.Lock()
	s.pump = p
	s.mu.Unlock()
}

// Part tells every client the exit code of the run that has ended. All output must
// have been delivered.
func (s *Server) Part(code int) {
	s.mu.Lock()
	conns := s.conns
	s.conns, s.pump = map[net.Conn]*sync.Mutex{}, nil
	s.mu.Unlock()
	for c, lock := range conns {
		farewellTo(c, lock, code)
	}
}

// farewellTo is the last that a client hears.
func farewellTo(c net.Conn, lock *sync.Mutex, code int) {
	c.SetWriteDeadline(time.Now().Add(farewell))
	var data [4]byte
	binary.BigEndian.PutUint32(data[:], uint32(code))
	frames{c, lock, frameExit}.Write(data[:])
	c.Close()
}

// Close is Part, and the end of the server.
func (s *Server) Close(code int) {
	s.mu.Lock()
	s.closing = true
	for c := range s.strange {
		c.Close()
	}
	clear(s.strange)
	s.mu.Unlock()
	s.l.SetUnlinkOnClose(false)
	s.l.Close()
	s.dir.Close()
	s.Part(code)
	s.busy.Wait()
}

// frames writes frames of one type.
type frames struct {
	c    io.Writer
	lock *sync.Mutex
	kind byte
}

func (f frames) Write(p []byte) (int, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	all := len(p)
	for first := true; first || len(p) > 0; first = false {
		n := min(len(p), maxFrame)
		buf := make([]byte, 5+n)
		buf[0] = f.kind
		binary.BigEndian.PutUint32(buf[1:], uint32(n))
		copy(buf[5:], p[:n])
		if _, err := f.c.Write(buf); err != nil {
			return 0, err
		}
		p = p[n:]
	}
	return all, nil
}

func readFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", n)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}
