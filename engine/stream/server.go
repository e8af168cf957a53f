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
	frameOut    = 'o'
	frameErr    = 'x'
	frameExit   = 'c' // exit code, four bytes; the last one

	maxFrame = 1 << 20
	// farewell is how long a client may make no progress after the end.
	farewell = 30 * time.Second
)

// SocketName is the socket's name in the container's run directory.
const SocketName = "monitor.sock"

// Request is what a client wants.
type Request struct {
	Stdin, Stdout, Stderr bool
}

// Server answers at the monitor's socket.
type Server struct {
	l    *net.UnixListener
	pump *Pump
	// Signal passes a signal to the process.
	signal func(syscall.Signal) error

	mu      sync.Mutex
	conns   map[net.Conn]*sync.Mutex
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
func Serve(dir string, pump *Pump, signal func(syscall.Signal) error) (*Server, error) {
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
	s := &Server{l: l, pump: pump, signal: signal, conns: map[net.Conn]*sync.Mutex{}, dir: d}
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
		s.conns[c] = new(sync.Mutex)
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
		return
	}
	s.mu.Lock()
	lock := s.conns[c]
	s.mu.Unlock()
	if lock == nil {
		return
	}
	var sink *Sink
	if req.Stdout || req.Stderr {
		sink = &Sink{}
		if req.Stdout {
			sink.Stdout = frames{c, lock, frameOut}
		}
		if req.Stderr {
			sink.Stderr = frames{c, lock, frameErr}
		}
		s.pump.Add(sink)
	}
	s.listen(r, req)
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing {
		return // Close has it
	}
	if sink != nil {
		s.pump.Remove(sink)
	}
	s.drop(c)
}

// listen takes what the client sends, until it leaves.
func (s *Server) listen(r *bufio.Reader, req Request) {
	for {
		kind, data, err := readFrame(r)
		if err != nil {
			return
		}
		switch kind {
		case frameIn:
			if req.Stdin {
				s.pump.Write(data)
			}
		case frameInEOF:
			if req.Stdin {
				s.pump.CloseStdin()
			}
		case frameSize:
			if len(data) == 4 {
				s.pump.Resize(binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]))
			}
		case frameSignal:
			if len(data) == 1 {
				s.signal(syscall.Signal(data[0]))
			}
		}
	}
}

func (s *Server) drop(c net.Conn) {
	c.Close()
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Close tells every client the exit code and ends. All output must have been
// delivered.
func (s *Server) Close(code int) {
	s.mu.Lock()
	s.closing = true
	conns := s.conns
	s.conns = map[net.Conn]*sync.Mutex{}
	s.mu.Unlock()
	s.l.SetUnlinkOnClose(false)
	s.l.Close()
	s.dir.Close()
	for c, lock := range conns {
		c.SetWriteDeadline(time.Now().Add(farewell))
		var data [4]byte
		binary.BigEndian.PutUint32(data[:], uint32(code))
		frames{c, lock, frameExit}.Write(data[:])
		c.Close()
	}
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
