package netstack

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a frame waits for a monitor that is behind, and
	// penance how long one that was too slow gets only what fits at once.
	patience = 20 * time.Millisecond
	penance  = time.Second
)

// peers is one end of a network's wire: a datagram socket for each endpoint, in
// the directory of its network, which only the user who runs containers may
// enter. A frame is sent to the socket that is named after its destination. No
// process is in between.
type peers struct {
	dir  *os.File
	own  mac
	sock int

	mu   sync.Mutex
	open map[mac]*peer
}

// peer is another endpoint; fd is -1 until something was sent to it.
type peer struct {
	fd   int
	slow time.Time // until then it gets what fits
}

// socketName is the name of an endpoint's socket in its network's directory.
func socketName(m mac) string { return "eth-" + hex.EncodeToString(m[:]) }

// path names a socket in dir within the 108 bytes that an address has.
func (w *peers) path(m mac) string {
	return "/proc/self/fd/" + strconv.Itoa(int(w.dir.Fd())) + "/" + socketName(m)
}

func join(dir string, own mac) (*peers, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	w := &peers{dir: f, own: own, open: map[mac]*peer{}}
	w.sock, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("socket", err)
	}
	unix.SetsockoptInt(w.sock, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	path := w.path(own)
	os.Remove(path) // of a monitor that was killed: the address is ours
	if err := unix.Bind(w.sock, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(w.sock)
		f.Close()
		return nil, fmt.Errorf("bind %s: %w", socketName(own), err)
	}
	os.Chmod(path, 0o600)
	return w, nil
}

func (w *peers) close() {
	os.Remove(w.path(w.own))
	w.know(nil)
	unix.Close(w.sock)
	w.dir.Close()
}

// know tells who is on the network.
func (w *peers) know(known map[mac]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for m, p := range w.open {
		if !known[m] {
			p.hangUp()
			delete(w.open, m)
		}
	}
	for m := range known {
		if w.open[m] == nil {
			w.open[m] = &peer{fd: -1}
		}
	}
}

func (w *peers) knows(m mac) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[m] != nil
}

func (p *peer) hangUp() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// send sends a frame to one endpoint, if it is on the network.
func (w *peers) send(to mac, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.open[to]; p != nil {
		w.pass(to, p, b, patience)
	}
}

// flood sends a frame to all, and waits for nobody.
func (w *peers) flood(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for to, p := range w.open {
		w.pass(to, p, b, 0)
	}
}

func (w *peers) pass(to mac, p *peer, b []byte, wait time.Duration) {
	for try := 0; try < 2; try++ {
		if p.fd < 0 {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return
			}
			if unix.Connect(fd, &unix.SockaddrUnix{Name: w.path(to)}) != nil {
				unix.Close(fd)
				return
			}
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
			p.fd = fd
		}
		err := p.write(b, wait)
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOTCONN) {
			return
		}
		p.hangUp() // its monitor ended; another may have begun
	}
}

// write waits a little for one who does not keep up, or TCP would lose a whole
// window at once: the queue of a datagram socket is ten frames long.
func (p *peer) write(b []byte, wait time.Duration) error {
	for {
		_, err := unix.Write(p.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EAGAIN || wait == 0 || time.Now().Before(p.slow) {
			return err
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
		n, perr := unix.Poll(fds, int(wait/time.Millisecond))
		if perr == unix.EINTR {
			continue
		}
		if n == 0 || perr != nil {
			p.slow = time.Now().Add(penance)
			return err
		}
	}
}
