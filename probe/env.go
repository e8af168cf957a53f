package probe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// env is what the probes of one run have in common.
type env struct {
	id *identity
	// scratch makes the directory for trials, once; see makeScratch.
	scratch func() (string, error)
	lock    *os.File
	made    string

	// nets waits until every group that makes a network namespace has made it:
	// none is taken down before, as that keeps the lock that making one needs
	// (rtnl) for tens of milliseconds.
	nets    sync.WaitGroup
	netsDue map[string]func()
}

func newEnv(id *identity) *env {
	e := &env{id: id, netsDue: map[string]func(){}}
	e.scratch = sync.OnceValues(e.makeScratch)
	return e
}

// expect announces that a group will run.
func (e *env) expect(group string) {
	switch group {
	case "net", "userns", "clone":
		e.nets.Add(1)
		e.netsDue[group] = sync.OnceFunc(e.nets.Done)
	}
}

// netMade says that group has its network namespace, or will make none.
func (e *env) netMade(group string) {
	if done := e.netsDue[group]; done != nil {
		done()
	}
}

func (e *env) close() {
	if e.made == "" {
		return
	}
	removeScratch(e.made)
	e.lock.Close()
}

// removeScratch removes a directory for trials with all that is in it.
func removeScratch(dir string) {
	// Before 3.18 a directory cannot be removed as long as it is a mount point
	// in a namespace that is just being taken down.
	for range 50 {
		err := os.RemoveAll(dir)
		switch {
		case errors.Is(err, fs.ErrPermission):
			// What overlay keeps for itself has no mode at all.
			for _, inner := range [...]string{"work", "work/incompat", "work/incompat/volatile", "index"} {
				os.Chmod(filepath.Join(dir, "user-work", inner), 0o700)
			}
		case !errors.Is(err, unix.EBUSY):
			return
		}
		time.Sleep(time.Millisecond)
	}
}

const scratchPrefix = ".coracle-probe-"

// makeScratch makes a directory on the state directory's filesystem, and a mount
// point in it. It is held
// by a lock, so that one whose maker was killed is told from one in use.
func (e *env) makeScratch() (string, error) {
	base := e.id.existing
	cleanScratch(base)
	dir, err := os.MkdirTemp(base, scratchPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(filepath.Join(dir, "mnt"), 0o755); err != nil {
		os.Remove(dir)
		return "", err
	}
	f, err := os.Open(dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	e.lock, e.made = f, dir
	return dir, nil
}

// cleanScratch removes directories whose makers are dead: nobody holds the lock
// (a maker in another PID namespace would), and the process is gone (so one
// that has not locked yet is left alone).
func cleanScratch(base string) {
	for _, name := range names(base) {
		rest, ok := strings.CutPrefix(name, scratchPrefix)
		if !ok || alive(rest) {
			continue
		}
		f, err := os.Open(filepath.Join(base, name))
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			removeScratch(filepath.Join(base, name))
		}
		f.Close()
	}
}

// alive tells whether the process in "PID" or "PID-anything" lives.
func alive(name string) bool {
	digits, _, _ := strings.Cut(name, "-")
	pid, err := strconv.Atoi(digits)
	if err != nil || pid <= 0 {
		return true // not a name of ours
	}
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
