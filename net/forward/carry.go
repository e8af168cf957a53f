package forward

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is what a pipe is asked to hold. All pipes of a user without
	// CAP_SYS_RESOURCE share 64 MB (pipe(7), pipe-user-pages-soft); then they
	// come with a page or two, which is slow, but works.
	pipeSize = 1 << 20
	// bufSize is what is read at once where splice(2) does not work.
	bufSize = 256 << 10
	// turn is how much one direction moves before the others have their turn.
	turn = 4 << 20
	// bulk is how much one direction moves at once where it is a stream.
	bulk = 128 << 10
)

// carrier holds what was read of one direction and not written yet: in a pipe,
// from which splice(2) takes it without a copy, or in memory. A direction has one
// only while it moves or is held up, so that idle connections have none.
type carrier struct {
	rd, wr int // a pipe; -1: none
	buf    []byte
	from   int // buf[from:n] is to be written
	n      int // bytes held
	size   int
}

func (l *loop) carrier() *carrier {
	if last := len(l.idle) - 1; last >= 0 {
		c := l.idle[last]
		l.idle = l.idle[:last]
		return c
	}
	c := &carrier{rd: -1, wr: -1, size: pipeSize}
	if !l.plain {
		var fds [2]int
		if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) == nil {
			c.rd, c.wr = fds[0], fds[1]
			unix.FcntlInt(uintptr(c.wr), unix.F_SETPIPE_SZ, pipeSize) // since 2.6.35
			return c
		}
	}
	c.buf = make([]byte, bufSize)
	return c
}

func (l *loop) release(c *carrier) {
	if c.n > 0 || len(l.idle) >= 8 || l.plain && c.rd >= 0 {
		c.close()
		return
	}
	c.from = 0
	l.idle = append(l.idle, c)
}

func (c *carrier) close() {
	if c.rd >= 0 {
		unix.Close(c.rd)
		unix.Close(c.wr)
	}
	c.rd, c.wr, c.buf = -1, -1, nil
}

const spliceFlags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE

// fill reads from fd into an empty carrier. 0 and no error: the end.
func (c *carrier) fill(fd int) (int, error) {
	for {
		var n int
		var err error
		if c.rd >= 0 {
			var m int64
			m, err = splice(fd, c.wr, c.size)
			n = int(m)
		} else {
			n, err = unix.Read(fd, c.buf)
			c.from = 0
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		c.n = n
		return n, nil
	}
}

// flush writes to fd what it can.
func (c *carrier) flush(fd int) error {
	for c.n > 0 {
		var n int
		var err error
		if c.rd >= 0 {
			var m int64
			m, err = splice(c.rd, fd, c.n)
			n = int(m)
		} else {
			n, err = unix.SendmsgN(fd, c.buf[c.from:c.from+c.n], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n <= 0 {
			return unix.EPIPE
		}
		c.n -= n
		c.from += n
	}
	return nil
}

func splice(from, to, n int) (int64, error) {
	m, err := unix.Splice(from, nil, to, nil, n, spliceFlags)
	return int64(m), err
}

// unspliced tells that splice(2) is not there, or not for these sockets.
func unspliced(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// flow is one direction of a connection.
type flow struct {
	c        *conn
	src, dst int
	held     *carrier
	readable bool
	writable bool
	queued   bool
	ended    bool // the end was read
	shut     bool // and passed on
}

// move moves what can be moved without waiting.
func (f *flow) move() {
	l := f.c.loop
	moved := 0
	for !f.shut && !f.c.closed {
		if moved >= turn {
			f.again()
			break
		}
		if f.held != nil && f.held.n > 0 {
			if !f.writable {
				break // keeps what it holds
			}
			n := f.held.n
			err := f.held.flush(f.dst)
			moved += n - f.held.n
			if err == unix.EAGAIN {
				f.writable = false
				break
			}
			if err != nil {
				f.c.reset()
				return
			}
			continue
		}
		if f.ended {
			f.finish()
			break
		}
		if !f.readable {
			break
		}
		if f.held == nil {
			f.held = l.carrier()
		}
		n, err := f.held.fill(f.src)
		switch {
		case err == unix.EAGAIN:
			f.readable = false
		case unspliced(err) && f.held.rd >= 0:
			f.held.close()
			f.held = nil
			l.plain = true
		case err != nil:
			f.c.reset()
			return
		case n == 0:
			f.ended = true
		}
	}
	if moved >= bulk {
		l.streams = true
	}
	if f.held != nil && f.held.n == 0 {
		l.release(f.held)
		f.held = nil
	}
}

func (f *flow) again() {
	if !f.queued {
		f.queued = true
		f.c.loop.ready = append(f.c.loop.ready, f)
	}
}

// finish passes an end on: one side may be done long before the other.
func (f *flow) finish() {
	f.shut = true
	unix.Shutdown(f.dst, unix.SHUT_WR)
	if f.c.up.shut && f.c.down.shut {
		f.c.close()
	}
}
