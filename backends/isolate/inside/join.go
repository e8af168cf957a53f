package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Name is the argv[0] of the process that [Joined] starts.
const Name = "coracle-inside"

// socketFD is its end of the socket: a packet with an isolate.Net, and one with the
// answer.
const socketFD = 3

// most bounds a packet, and the descriptors that come with it (SCM_MAX_FD is 253).
const most, mostFDs = 64 << 10, 64

type answer struct {
	Names []string
	Err   string
}

// Joined does it in the network namespace of process pid, which is in a user
// namespace that is ours: by a process that joins both while it has one thread,
// which a Go program cannot (setns(2)).
func Joined(ctx context.Context, pid int, n *isolate.Net) (_ map[string]*os.File, err error) {
	data, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[0])
	wait, err := helper(ctx, pid, pair[1])
	unix.Close(pair[1])
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := wait(); err == nil && e != nil {
			err = e
		}
	}()
	if err := unix.Sendmsg(pair[0], data, nil, nil, 0); err != nil {
		return nil, os.NewSyscallError("sendmsg", err)
	}
	a, fds, err := hear(pair[0])
	if err != nil {
		return nil, err
	}
	if a.Err != "" {
		return nil, errors.New(a.Err)
	}
	if len(fds) != len(a.Names) {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("%d descriptors came for %d names", len(fds), len(a.Names))
	}
	return isolate.NetFiles(a.Names, fds), nil
}

// helper starts the process.
func helper(ctx context.Context, pid, socket int) (wait func() error, err error) {
	exe, _, err := sys.Self()
	if err != nil {
		return nil, err
	}
	f := sys.Fork{Path: exe, Args: []string{Name}, Env: []string{"GOMAXPROCS=1"}}
	for _, kind := range [...]string{"user", "net"} {
		ns, err := sys.Namespace(pid, kind)
		if err != nil {
			return nil, fmt.Errorf("join the namespaces of a container that runs: %w", err)
		}
		defer ns.Close()
		f.Join = append(f.Join, int(ns.Fd()))
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	f.Files = []int{int(null.Fd()), int(null.Fd()), int(null.Fd()), socket}
	return f.Start(ctx)
}

func hear(socket int) (*answer, []int, error) {
	buf, oob := make([]byte, most), make([]byte, unix.CmsgSpace(4*mostFDs))
	for {
		n, oobn, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, nil, os.NewSyscallError("recvmsg", err)
		}
		if n == 0 {
			return nil, nil, errors.New("the process that joined the container's network ended without a word")
		}
		fds, _ := sys.Rights(oob[:oobn])
		a := new(answer)
		return a, fds, json.Unmarshal(buf[:n], a)
	}
}

// Main is that process.
func Main() int {
	buf := make([]byte, most)
	n, err := unix.Read(socketFD, buf)
	if err != nil {
		return 1
	}
	var what isolate.Net
	var a answer
	var fds []int
	if err = json.Unmarshal(buf[:n], &what); err == nil {
		a.Names, fds, err = Do(&what)
	}
	if err != nil {
		a = answer{Err: err.Error()}
	}
	data, err := json.Marshal(a)
	if err == nil {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		err = unix.Sendmsg(socketFD, data, rights, nil, 0)
	}
	if err != nil {
		return 1
	}
	return 0
}
