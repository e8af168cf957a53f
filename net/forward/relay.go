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
	_, err := io.Copy(dst, src)
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

// abort ends a connection with a reset where it can.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}
