// Package agent starts processes in a container from the inside, where setns(2)
// cannot enter it: before Linux 3.8 it joins no mount and no PID namespace, and
// 2.6.32 has none at all.
//
// The container's first process is then an init of ours ([Init]), which runs the
// program as its child and listens on a socket. Its monitor makes that socket
// ([Listen]) in a directory of the host before the container has namespaces of
// its own, so that every later process of ours can reach it by a name that the
// container does not see; before 2.6.38 the kernel also wants both ends made in
// one network namespace, and both are made in the host's.
//
// A client ([Dial]) sends four descriptors: three streams and one end of the
// talk with the second stage (package stage). The agent starts a second stage
// with them and has no further part: what to run, as whom and how confined is
// said and answered on that socket, in the same words as everywhere.
//
// # What it does not protect from
//
// The agent keeps the rights that it was started with, because a later process
// may be given more than the program has. It is not dumpable, so nobody in the
// container looks into it without CAP_SYS_PTRACE. Where the container was given
// that capability, or CAP_SYS_ADMIN, the agent keeps no more than the container
// has, and so does all that it starts ([Exposed]).
package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// socketName is the socket's name in the container's run directory.
const socketName = "agent.sock"

// version is the request's one byte of data: an agent may be older than the
// program that asks it.
const version = 1

// files are how many descriptors come with a request.
const files = 4

// Exposed tells whether processes with the capabilities c could get hold of the
// agent: trace it, or change the files and mounts that it starts programs from.
func Exposed(c *specs.LinuxCapabilities) bool {
	return c == nil || slices.Contains(c.Bounding, "CAP_SYS_PTRACE") || slices.Contains(c.Bounding, "CAP_SYS_ADMIN")
}

// address reaches the socket by a descriptor of its directory, because a
// socket's path is bounded to 108 bytes (unix(7)) and state directories are not.
func address(dir string) (*os.File, *unix.SockaddrUnix, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	return d, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + socketName}, nil
}

// Listen makes the socket in dir, a directory that nobody else may enter.
func Listen(dir string) (*os.File, error) {
	Forget(dir)
	d, addr, err := address(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err = unix.Bind(fd, addr); err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("agent's socket in %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), socketName), nil
}

// Forget removes the socket of an agent that is gone.
func Forget(dir string) { os.Remove(filepath.Join(dir, socketName)) }
