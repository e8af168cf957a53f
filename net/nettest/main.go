// Command nettest is one piece of wiring as a process of its own, so that
// internal/bench can tell its processor time from that of who sends and receives.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"coracle/net/forward"
	"coracle/net/network"

	"golang.org/x/sys/unix"
)

const usage = `usage: nettest forward FROM TO           carry one TCP port until standard input ends
       nettest serve AT [bare]          take what clients send until standard input ends
       nettest send TO DURATION [bare]  send, and print how many bytes arrived, and the seconds
"bare" does without copies: sendfile(2), and recv(2) with MSG_TRUNC (tcp(7))`

func main() {
	var err error
	args := os.Args[1:]
	bare := len(args) == 3 && args[0] == "serve" || len(args) == 4
	if bare {
		bare = args[len(args)-1] == "bare"
		args = args[:len(args)-1]
	}
	switch {
	case len(args) == 3 && args[0] == "forward":
		err = carry(args[1], args[2])
	case len(args) == 2 && args[0] == "serve":
		err = serve(args[1], bare)
	case len(args) == 3 && args[0] == "send":
		err = send(args[1], args[2], bare)
	default:
		err = errors.New(usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nettest:", err)
		os.Exit(1)
	}
}

func carry(at, service string) error {
	from, err := netip.ParseAddrPort(at)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(service)
	if err != nil {
		return err
	}
	_, r, err := forward.Reserve([]network.Publish{{Proto: "tcp", HostIP: from.Addr(), Host: from.Port(), Port: to.Port(), Count: 1}})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Serve(forward.Way{To: func(string, uint16) (netip.AddrPort, bool) { return to, true }}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// confirm is how many bytes the service reads before it answers with one byte.
const confirm = 4 << 20

func serve(at string, bare bool) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go take(c.(*net.TCPConn), bare)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func take(c *net.TCPConn, bare bool) {
	defer c.Close()
	read := c.Read
	if bare {
		raw, err := c.SyscallConn()
		if err != nil {
			return
		}
		read = func(buf []byte) (n int, err error) {
			e := raw.Read(func(fd uintptr) bool {
				n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
				return err != unix.EAGAIN
			})
			return n, errors.Join(e, err)
		}
	}
	buf := make([]byte, 1<<20)
	for sum := 0; ; {
		n, err := read(buf)
		if err != nil || n == 0 {
			return
		}
		for sum += n; sum >= confirm; sum -= confirm {
			c.Write([]byte{0})
		}
	}
}

// send counts what the service has confirmed: what is under way at the end is not
// counted.
func send(to, duration string, bare bool) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	chunk, err := source(c.(*net.TCPConn), bare)
	if err != nil {
		return err
	}
	began := time.Now()
	c.SetDeadline(began.Add(d))
	go func() {
		for chunk() == nil {
		}
	}()
	var sum int64
	answers := make([]byte, 64)
	for {
		n, err := c.Read(answers)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			fmt.Println(sum, time.Since(began).Seconds())
			return nil
		case err != nil:
			return err
		}
		sum += int64(n) * confirm
	}
}

// source is what sends one piece.
func source(c *net.TCPConn, bare bool) (chunk func() error, err error) {
	buf := make([]byte, 256<<10)
	if !bare {
		return func() error { _, err := c.Write(buf); return err }, nil
	}
	fd, err := unix.MemfdCreate("nettest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	for range 256 {
		if _, err := f.Write(buf); err != nil {
			return nil, err
		}
	}
	return func() error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(c, f) // sendfile(2)
		return err
	}, nil
}
