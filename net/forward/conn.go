package forward

import (
	"time"

	"golang.org/x/sys/unix"
)

// conn is a TCP connection that is carried: near is the client's socket, far
// ours to the service.
type conn struct {
	loop      *loop
	s         *Server
	near, far int
	up, down  flow // to the service, and from it
	began     time.Time
	made      bool // far is connected
	closed    bool
}

// edges: one event a change, so that no call is needed to be told or not told.
const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | (unix.EPOLLET & 0xffffffff)

// start takes two sockets, of which far is being connected.
func (s *Server) start(l *loop, near, far int) {
	c := &conn{loop: l, s: s, near: near, far: far, began: time.Now()}
	c.up = flow{c: c, src: near, dst: far}
	c.down = flow{c: c, src: far, dst: near}
	s.conns[c] = struct{}{}
	if l.watch(near, edges, (*nearEnd)(c)) != nil || l.watch(far, edges, (*farEnd)(c)) != nil {
		c.reset()
	}
}

type (
	nearEnd conn
	farEnd  conn
)

func (e *nearEnd) event(flags uint32) {
	c := (*conn)(e)
	if flags&^unix.EPOLLOUT != 0 {
		c.up.readable = true
	}
	if flags&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.down.writable = true
	}
	c.move(flags, &c.up)
}

func (e *farEnd) event(flags uint32) {
	c := (*conn)(e)
	if !c.made {
		if flags&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			return
		}
		errno, err := unix.GetsockoptInt(c.far, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil || errno != 0 {
			c.reset()
			return
		}
		c.made = true
		c.s.pending--
	}
	if flags&^unix.EPOLLOUT != 0 {
		c.down.readable = true
	}
	if flags&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.up.writable = true
	}
	c.move(flags, &c.down)
}

// move moves what it can after an event of the end that f reads.
func (c *conn) move(flags uint32, f *flow) {
	if !c.made {
		return
	}
	c.up.move()
	if !c.closed {
		c.down.move()
	}
	if flags&unix.EPOLLERR != 0 && f.shut && !c.closed {
		// It had said all, and has gone: nothing that is read will tell.
		c.reset()
	}
}

// reset ends both sides as one of them ended: with a reset, and not with an end
// of file that looks like all was said.
func (c *conn) reset() {
	if c.closed {
		return
	}
	hard := &unix.Linger{Onoff: 1, Linger: 0}
	unix.SetsockoptLinger(c.near, unix.SOL_SOCKET, unix.SO_LINGER, hard)
	unix.SetsockoptLinger(c.far, unix.SOL_SOCKET, unix.SO_LINGER, hard)
	c.close()
}

func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	if !c.made {
		c.s.pending--
	}
	for _, f := range [...]*flow{&c.up, &c.down} {
		if f.held != nil {
			c.loop.release(f.held)
			f.held = nil
		}
	}
	c.loop.forget(c.near)
	c.loop.forget(c.far)
	delete(c.s.conns, c)
	c.s.unpark()
}
