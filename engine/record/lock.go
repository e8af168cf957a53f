package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is a lock that is held. The kernel frees it when its holder dies.
type Lock struct {
	f    *os.File
	more *Lock
}

// Release frees the lock.
func (l *Lock) Release() {
	if l == nil {
		return
	}
	l.more.Release()
	if l.f != nil {
		l.f.Close()
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// Lock takes the object lock of c. ErrNotFound: it was removed meanwhile.
func (s *Store) Lock(c *Container) (*Lock, error) {
	l, err := s.lockDir(c.RunDir, true)
	if err != nil {
		return nil, err
	}
	return s.still(c, l)
}

// TryLock is Lock that does not wait: ErrBusy.
func (s *Store) TryLock(c *Container) (*Lock, error) {
	l, err := s.lockDir(c.RunDir, false)
	if err != nil {
		return nil, err
	}
	return s.still(c, l)
}

func (s *Store) still(c *Container, l *Lock) (*Lock, error) {
	if _, err := os.Lstat(c.dir); err != nil {
		os.Remove(c.RunDir) // which lockDir has just made
		l.Release()
		return nil, fmt.Errorf("%w: %s", ErrNotFound, c.ID)
	}
	return l, nil
}

// lockDir locks a directory, which is made when a boot, or a logout, has taken
// it away.
func (s *Store) lockDir(dir string, wait bool) (*Lock, error) {
	for {
		if err := os.Mkdir(dir, 0o711); errors.Is(err, os.ErrNotExist) {
			err = os.MkdirAll(dir, 0o711)
			if err != nil {
				return nil, err
			}
		} else if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
		f, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		how := unix.LOCK_EX
		if !wait {
			how |= unix.LOCK_NB
		}
		if err := flock(f, how); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrBusy
			}
			return nil, err
		}
		// It may have been removed while we waited.
		if same(f, dir) {
			return &Lock{f: f}, nil
		}
		f.Close()
	}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

func (c *Container) lockPath() string { return filepath.Join(c.RunDir, "lock") }

// LockMonitor takes the monitor's lock; ErrBusy: there is a monitor. The object
// lock must be held, by us or by the process that waits for us.
func (c *Container) LockMonitor() (*Lock, error) {
	f, err := os.OpenFile(c.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	// Alive takes the lock shared, for an instant, which a busy machine may make
	// long: so the state must name a monitor that lives.
	for tries := 0; ; tries++ {
		err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Lock{f: f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, err
		}
		if tries >= 2 && c.monitored() || tries >= 1000 {
			f.Close()
			return nil, ErrBusy
		}
		pause(1)
	}
}

// Alive tells whether the container has a monitor.
func (c *Container) Alive() bool {
	fd, err := open(c.lockPath())
	if err != nil {
		return c.lostLock()
	}
	defer unix.Close(fd)
	for {
		err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
		if err != unix.EINTR {
			return err == unix.EWOULDBLOCK
		}
	}
}

// lostLock: the directory of what does not outlive a boot can be taken away
// under a running monitor (at logout, or by a cleaner of /tmp). Then its process
// must speak for it.
func (c *Container) lostLock() bool {
	s, err := c.State()
	return err == nil && s.Running && s.monitored()
}

// monitored tells whether the process lives that is written down as the monitor.
func (c *Container) monitored() bool {
	s, err := c.State()
	return err == nil && (s.Running || s.Dirty) && s.monitored()
}

func (s *State) monitored() bool {
	return s.Monitor != 0 && s.Boot == Boot() && s.MonitorStart != 0 && StartTime(s.Monitor) == s.MonitorStart
}

// Await blocks until the container has no monitor.
func (c *Container) Await() error {
	f, err := os.OpenFile(c.lockPath(), os.O_RDONLY, 0)
	if err != nil {
		for c.lostLock() {
			pause(100)
		}
		return nil
	}
	defer f.Close()
	return flock(f, unix.LOCK_SH)
}

func pause(ms int) { time.Sleep(time.Duration(ms) * time.Millisecond) }

// Boot identifies this boot of the kernel.
func Boot() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	for i, b := range data {
		if b == '\n' {
			return string(data[:i])
		}
	}
	return string(data)
}

// Signal sends sig to a process if it is still the one that started at start.
// A PID descriptor, where the kernel has them (5.3), closes the gap in which
// the PID could be given to another process.
func Signal(pid int, start uint64, sig syscall.Signal) error {
	if pid <= 0 {
		return os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	if start != 0 && StartTime(pid) != start {
		return os.ErrProcessDone
	}
	if err == nil {
		err = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		err = unix.Kill(pid, sig)
	}
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return os.NewSyscallError("kill", err)
}
