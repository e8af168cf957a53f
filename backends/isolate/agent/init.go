package agent

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Init is what the first process of a container does while its program runs as
// its child: pass signals on, reap what is orphaned, start what clients ask for.
//
// One goroutine, that of Tend, starts, signals and reaps, so a child's number is
// never used after it was reaped.
type Init struct {
	signals chan os.Signal
	asked   chan *client
	told    chan order
	start   func(fds []uintptr) (pid int, err error)
	clients map[int]*client // by PID
}

// client is a connection, and the process that was started for it.
type client struct {
	conn *os.File
	fds  []int
	pid  int // 0: not started
}

// order is a signal that a client sends to its process.
type order struct {
	c   *client
	sig syscall.Signal
}

// NewInit catches signals from now on: call it before the program is started.
func NewInit() *Init {
	i := &Init{
		signals: make(chan os.Signal, 64), asked: make(chan *client), told: make(chan order),
		clients: map[int]*client{},
	}
	signal.Notify(i.signals)
	// Without a PID namespace orphans would go to the host's init. Kernels before
	// 3.4 have no subreaper, and there they do.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	return i
}

// Listen takes requests from the socket listener, a descriptor that does not
// block. start is called on Tend's goroutine with the descriptors that are to
// become 0 to 3.
func (i *Init) Listen(listener int, start func(fds []uintptr) (pid int, err error)) error {
	i.start = start
	l := os.NewFile(uintptr(listener), socketName)
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	spare(4)
	go func() {
		for {
			var fd int
			var failed error
			err := raw.Read(func(l uintptr) bool {
				fd, _, failed = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
				return !errors.Is(failed, unix.EAGAIN)
			})
			if err != nil || failed != nil {
				time.Sleep(50 * time.Millisecond) // no descriptor or no memory is left just now
				continue
			}
			go i.serve(&client{conn: os.NewFile(uintptr(fd), "client")})
		}
	}()
	return nil
}

// spare makes idle threads beforehand. The runtime ends the program when it needs
// one and the container has used up its limit of processes.
func spare(threads int) {
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			nap := unix.NsecToTimespec(int64(2 * time.Millisecond))
			_ = unix.Nanosleep(&nap, nil) // holds a thread, as time.Sleep does not
		})
	}
	all.Wait()
}

// serve reads from one client: its request, then its signals, then its end.
func (i *Init) serve(c *client) {
	if err := c.receive(); err != nil {
		c.answer(-int32(errnoOf(err)))
		c.conn.Close()
		return
	}
	i.asked <- c
	var sig [1]byte
	for {
		if _, err := io.ReadFull(c.conn, sig[:]); err != nil {
			i.told <- order{c, unix.SIGKILL}
			return
		}
		i.told <- order{c, syscall.Signal(sig[0])}
	}
}

// receive takes a request of the container's owner, who is root here, and of
// nobody else.
func (c *client) receive() error {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if e := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	var data [1]byte
	oob := make([]byte, unix.CmsgSpace(4*files))
	var n, oobn, flags int
	e := raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), data[:], oob, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err = errors.Join(e, err); err != nil {
		return err
	}
	fds, err := sys.Rights(oob[:oobn])
	if err != nil {
		return err
	}
	c.fds = append(c.fds, fds...)
	if n != 1 || data[0] != version || len(c.fds) != files || flags&unix.MSG_CTRUNC != 0 {
		c.drop()
		return unix.EPROTO
	}
	if peer.Uid != 0 {
		c.drop()
		return unix.EPERM
	}
	return nil
}

// drop closes the descriptors that came with the request.
func (c *client) drop() {
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	c.fds = nil
}

func (c *client) answer(n int32) {
	var buf [4]byte
	binary.NativeEndian.PutUint32(buf[:], uint32(n))
	c.conn.Write(buf[:])
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// Tend blocks until the program, a child, has ended, and returns its exit
// status, 128+n for signal n.
func (i *Init) Tend(program int) (status int) {
	for {
		// Before waiting: SIGCHLD may have come before Notify.
		if status, ended := i.reap(program); ended {
			return status
		}
		select {
		case sig := <-i.signals:
			switch sig {
			case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE:
				// The runtime's own, or none of the program's business.
			case unix.SIGTTIN, unix.SIGTTOU:
			default:
				unix.Kill(program, sig.(syscall.Signal))
			}
		case c := <-i.asked:
			i.begin(c)
		case o := <-i.told:
			if o.c.pid > 0 {
				unix.Kill(o.c.pid, o.sig)
			}
		}
	}
}

func (i *Init) begin(c *client) {
	fds := make([]uintptr, len(c.fds))
	for k, fd := range c.fds {
		fds[k] = uintptr(fd)
	}
	pid, err := i.start(fds)
	c.drop()
	if err != nil {
		c.answer(-int32(errnoOf(err)))
		c.conn.Close()
		return
	}
	c.pid = pid
	i.clients[pid] = c
	c.answer(int32(pid))
}

// reap waits for all children that have ended, and tells their clients.
func (i *Init) reap(program int) (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return 0, true
		case err != nil || pid == 0:
			return 0, false
		case pid == program && ws.Exited():
			return ws.ExitStatus(), true
		case pid == program && ws.Signaled():
			return 128 + int(ws.Signal()), true
		}
		if c := i.clients[pid]; c != nil && (ws.Exited() || ws.Signaled()) {
			delete(i.clients, pid)
			c.pid = 0
			c.answer(int32(ws))
			c.conn.Close()
		}
	}
}
