package record

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Processes that were started in a running container by others than its monitor:
// RUN/containers/ID/execs/EXEC, locked by who stays with it.
func (c *Container) execDir() string { return filepath.Join(c.RunDir, "execs") }

// AddExec makes one known as long as the lock is held.
func (c *Container) AddExec(id string) (*Lock, error) {
	path := filepath.Join(c.execDir(), id)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.Mkdir(c.execDir(), 0o700); err == nil || errors.Is(err, os.ErrExist) {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f: f}, nil
}

// DropExec forgets it.
func (c *Container) DropExec(id string, l *Lock) {
	if l != nil {
		os.Remove(filepath.Join(c.execDir(), id))
		l.Release()
	}
}

// Execs lists those that somebody stays with; what a killed one left is deleted.
func (c *Container) Execs() []string {
	entries, err := os.ReadDir(c.execDir())
	if err != nil {
		return nil
	}
	var ids []string
	for _, e := range entries {
		path := filepath.Join(c.execDir(), e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		switch err := flock(f, unix.LOCK_SH|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			ids = append(ids, e.Name())
		case err == nil && abandoned(f):
			os.Remove(path)
		}
		f.Close()
	}
	return ids
}

// abandoned tells whether a file that nobody locks has been so for more than the
// instant between its making and its lock.
func abandoned(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && time.Since(st.ModTime()) > time.Second
}
