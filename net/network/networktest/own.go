// Package networktest keeps tests of wiring to themselves, and has the suite that
// every rung of wiring passes.
package networktest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// marker says to the second process of Own that it is that.
const marker = "CORACLE_TEST_NETWORK"

// Own runs a test binary again in a network namespace of its own, with loopback
// up, and returns its exit code: what the tests do to interfaces, routes and
// packet filters happens there, and ends with it. Without root, or without such
// namespaces, run is called as it is.
//
//	func TestMain(m *testing.M) { os.Exit(networktest.Own(m.Run)) }
func Own(run func() int) int {
	if os.Getenv(marker) == "own" {
		os.Unsetenv(marker)
		outer = "/proc/" + strconv.Itoa(os.Getppid()) + "/ns/net"
		if err := loopback(); err != nil {
			fmt.Fprintln(os.Stderr, "bring up loopback:", err)
			return 1
		}
		return run()
	}
	if os.Geteuid() != 0 {
		return run()
	}
	// The parent's death is told to the thread that forked.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), marker+"=own")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return run()
	}
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	return 1
}

// outer is the network namespace that Own left; "" where it left none.
var outer string

// Outside calls f in the network that Own left, and so do the programs that f
// starts: what a test needs of the machine's own network, such as a package. Where
// namespaces are no files there is no way back, and f is called where it is: what
// it wants may be in a cache.
func Outside(f func() error) error {
	if outer == "" {
		return f()
	}
	if _, err := os.Stat("/proc/self/ns/net"); errors.Is(err, os.ErrNotExist) {
		return f()
	}
	ns, err := os.Open(outer)
	if err != nil {
		return err
	}
	defer ns.Close()
	if e := sys.InNetwork(ns, func() { err = f() }); e != nil {
		return os.NewSyscallError("setns", e)
	}
	return err
}

// loopback brings lo up.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var req [40]byte // struct ifreq
	copy(req[:], "lo")
	*(*uint16)(unsafe.Pointer(&req[unix.IFNAMSIZ])) = unix.IFF_UP | unix.IFF_RUNNING
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req[0]))); errno != 0 {
		return errno
	}
	return nil
}
