package launch

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownCopy makes a private copy of our executable, which has no name: where no
// mount namespace can make the binary read-only, the program in the container,
// which can reach its /proc/PID/exe, finds a copy there that nobody runs again
// (CVE-2019-5736). In memory where the kernel has memfd, else a deleted file in
// dir. It returns the path to execute.
func ownCopy(dir string) (f *os.File, path string, err error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, "", err
	}
	defer exe.Close()
	// A file that is open for writing cannot be executed (ETXTBSY), and a child
	// forked meanwhile for another container holds it open until its own exec.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := anonymous(dir)
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	if _, err := io.Copy(out, exe); err != nil {
		return nil, "", err
	}
	if err := out.Chmod(0o700); err != nil {
		return nil, "", err
	}
	f, err = os.Open("/proc/self/fd/" + strconv.Itoa(int(out.Fd())))
	if err != nil {
		return nil, "", err
	}
	// Above the descriptors that the child is given.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	f.Close()
	if err != nil {
		return nil, "", os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "coracle"), "/proc/self/fd/" + strconv.Itoa(fd), nil
}

func anonymous(dir string) (*os.File, error) {
	fd, err := unix.MemfdCreate("coracle", unix.MFD_CLOEXEC)
	if err == nil {
		return os.NewFile(uintptr(fd), "coracle"), nil
	}
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f, err := os.CreateTemp(dir, "exe-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
