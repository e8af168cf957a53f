package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is a client's connection. It stands for one process, which the agent
// kills when the connection ends before it.
type Conn struct{ f *os.File }

// Dial connects to the agent whose socket is in dir. An agent that is gone is
// os.ErrProcessDone.
func Dial(dir string) (*Conn, error) {
	d, addr, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// Blocking: where many ask at once it waits for its turn.
	for err = unix.Connect(fd, addr); errors.Is(err, unix.EINTR); {
		err = unix.Connect(fd, addr)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("%w: its agent does not answer (%v)", os.ErrProcessDone, err)
		}
		return nil, fmt.Errorf("connect to the container's agent: %w", err)
	}
	return &Conn{os.NewFile(uintptr(fd), socketName)}, nil
}

// Start has the agent start a second stage with fds as descriptors 0 to 3, and
// returns when it waits for its configuration. The end of ctx ends the
// connection.
func (c *Conn) Start(ctx context.Context, fds [files]int) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	raw, err := c.f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), []byte{version}, unix.UnixRights(fds[:]...), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	var answer int32
	if err = errors.Join(err, os.NewSyscallError("sendmsg", sent)); err == nil {
		answer, err = c.read()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: ask the container's agent: %w", os.ErrProcessDone, err)
	case answer == -int32(unix.EPROTO):
		return errors.New("the container's agent is of another version of this program: start the container again")
	case answer < 0:
		return fmt.Errorf("the container's agent cannot start a process: %w", syscall.Errno(-answer))
	}
	return nil
}

// read reads one number.
func (c *Conn) read() (int32, error) {
	var buf [4]byte
	if _, err := io.ReadFull(c.f, buf[:]); err != nil {
		return 0, err
	}
	return int32(binary.NativeEndian.Uint32(buf[:])), nil
}

// Signal has the agent, whose child the process is, send it a signal: its PID
// cannot have become another's.
func (c *Conn) Signal(sig syscall.Signal) error {
	_, err := c.f.Write([]byte{byte(sig)})
	return err
}

// Wait blocks until the process ended. One whose agent ended was killed by the
// kernel, with the others of the PID namespace.
func (c *Conn) Wait() syscall.WaitStatus {
	status, err := c.read()
	if err != nil {
		return syscall.WaitStatus(syscall.SIGKILL)
	}
	return syscall.WaitStatus(status)
}

// Close ends the connection.
func (c *Conn) Close() error { return c.f.Close() }
