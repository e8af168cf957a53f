package forward

import (
	"context"
	"io"
	"net"
	"sync"
)

// Join copies both ways between a and b until both ends were reached, one failed,
// or ctx is done; then it closes both. An end is passed on by CloseWrite.
func Join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { abort(a); abort(b) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { carry(a, b) })
	carry(b, a)
	wg.Wait()
	a.Close()
	b.Close()
}

// carry copies from src to dst and passes the end on.
func carry(dst, src net.Conn) {
	err := stream(dst, src)
	if w, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		w.CloseWrite()
		return
	}
	if err != nil {
		abort(dst)
	} else {
		dst.Close()
	}
	abort(src)
}

// stream copies until the end, in larger pieces while the source has more at hand and
// not too many others do so: who sends decides how much memory that is.
func stream(dst io.Writer, src io.Reader) error {
	small := make([]byte, 16<<10)
	buf := small
	back := func() {
		if len(buf) == bufSize {
			pieces.Put((*piece)(buf))
			<-lent
		}
		buf = small
	}
	defer back()
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
		}
		large := len(buf) == bufSize
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case large && n <= len(small):
			back()
		case !large && n == len(small):
			select {
			case lent <- struct{}{}:
				buf = pieces.Get().(*piece)[:]
			default:
			}
		}
	}
}

// piece is a larger piece, of which mostLent are in use at once.
type piece [bufSize]byte

const mostLent = 32

var (
	pieces = sync.Pool{New: func() any { return new(piece) }}
	lent   = make(chan struct{}, mostLent)
)

// abort ends a connection with a reset where it can.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
