package shelf

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is held on one object until Unlock or the process's end.
type Lock struct {
	name string
	path string
	file *os.File
	how  int
}

// Lock waits for the right to make or delete the object name.
func (s *Shelf) Lock(ctx context.Context, name string) (*Lock, error) {
	return s.wait(ctx, name, unix.LOCK_EX)
}

// Share waits until nobody makes or deletes the object, and keeps it so.
func (s *Shelf) Share(ctx context.Context, name string) (*Lock, error) {
	return s.wait(ctx, name, unix.LOCK_SH)
}

// wait polls: a blocking flock could not be given up when ctx is done.
func (s *Shelf) wait(ctx context.Context, name string, how int) (*Lock, error) {
	if err := Check(name); err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, maxWait) {
		l, err := s.try(name, how)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// try takes the lock or fails with EWOULDBLOCK.
func (s *Shelf) try(name string, how int) (*Lock, error) {
	path := filepath.Join(s.dir, lockDir, name)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if os.IsNotExist(err) {
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := flock(f, how|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		// The last holder may have removed the file between open and flock.
		mine, err := f.Stat()
		if err == nil {
			if there, err := os.Lstat(path); err == nil && os.SameFile(mine, there) {
				return &Lock{name: name, path: path, file: f, how: how}, nil
			}
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// Name is the object's name.
func (l *Lock) Name() string { return l.name }

// Unlock lets others go on. The lock's file goes too, if nobody else holds it.
func (l *Lock) Unlock() {
	if l.how == unix.LOCK_EX || flock(l.file, unix.LOCK_EX|unix.LOCK_NB) == nil {
		os.Remove(l.path)
	}
	l.file.Close()
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
