package tree

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"time"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// maxDepth bounds the descriptors that a removal holds. What lies deeper is
// moved up first.
const maxDepth = 128

// busyWait is how long EBUSY is waited out: before Linux 3.18 a directory that
// is a mount point in any other namespace cannot be removed, and those
// namespaces need a moment to die.
const busyWait = 3 * time.Second

// Remove deletes path and everything below it. An absent path is not an error.
func Remove(ctx context.Context, path string) error {
	path = filepath.Clean(path)
	dirfd, err := sys.Openat(unix.AT_FDCWD, filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dirfd)
	return RemoveAt(ctx, dirfd, filepath.Base(path))
}

// RemoveAt is Remove of one name below an open directory.
func RemoveAt(ctx context.Context, dirfd int, name string) error {
	r := &remover{ctx: ctx, buf: make([]byte, 16<<10), top: -1}
	return r.remove(dirfd, name, unix.DT_UNKNOWN, 0)
}

type remover struct {
	ctx   context.Context
	buf   []byte
	top   int // the outermost directory
	moved int // what was moved up into it
}

func (r *remover) remove(dirfd int, name string, typ byte, depth int) error {
	if typ != unix.DT_DIR {
		err := r.unlink(dirfd, name, 0)
		// EPERM is what POSIX wants for a directory.
		if err == nil || (!errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM)) {
			return err
		}
		var st unix.Stat_t
		if sys.Fstatat(dirfd, name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return err
		}
	}
	if depth > maxDepth {
		if err := r.moveUp(dirfd, name); err == nil {
			return nil
		}
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.empty(dirfd, name, depth); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		}
		// ENOTEMPTY: something was moved up, or someone still writes.
		err := r.unlink(dirfd, name, unix.AT_REMOVEDIR)
		if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

// empty removes what the directory name holds.
func (r *remover) empty(dirfd int, name string, depth int) error {
	fd, err := openToEmpty(dirfd, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if depth == 0 {
		r.top = fd
	}
	type entry struct {
		name string
		typ  byte
	}
	var all []entry
	err = sys.Dirents(fd, r.buf, func(name string, typ byte) error {
		all = append(all, entry{name, typ})
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := r.remove(fd, e.name, e.typ, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// openToEmpty opens a directory whose mode may forbid even its owner to.
func openToEmpty(dirfd int, name string) (int, error) {
	fd, err := sys.OpenDirat(dirfd, name)
	if errors.Is(err, unix.EACCES) {
		if sys.ChmodNoFollow(dirfd, name, 0o700) == nil {
			fd, err = sys.OpenDirat(dirfd, name)
		}
	}
	return fd, err
}

// unlink removes one name, and mends what can stand in the way.
func (r *remover) unlink(dirfd int, name string, flags int) error {
	var mended bool
	wait := time.Millisecond
	for started := time.Now(); ; {
		err := sys.Unlinkat(dirfd, name, flags)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY) && time.Since(started) < busyWait:
			select {
			case <-r.ctx.Done():
				return r.ctx.Err()
			case <-time.After(wait):
			}
			wait = min(2*wait, 100*time.Millisecond)
		case errors.Is(err, unix.EACCES) && !mended:
			mended = true // the directory is ours, but forbids writing
			if sys.Fchmod(dirfd, 0o700) != nil {
				return err
			}
		case errors.Is(err, unix.EPERM) && !mended:
			mended = true
			if !thaw(dirfd, name) {
				return err
			}
		default:
			return err
		}
	}
}

// thaw takes chattr(1)'s immutable and append-only attributes away. It tells
// whether trying again makes sense.
func thaw(dirfd int, name string) bool {
	ok := sys.ClearInodeFlags(dirfd) == nil
	var st unix.Stat_t
	if sys.Fstatat(dirfd, name, &st) != nil {
		return ok
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
		return ok
	}
	fd, err := sys.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ok
	}
	defer unix.Close(fd)
	return sys.ClearInodeFlags(fd) == nil || ok
}

// moveUp renames a deep directory into the outermost one, which is listed
// again until it is empty.
func (r *remover) moveUp(dirfd int, name string) error {
	for {
		r.moved++
		to := ".deep-" + strconv.Itoa(r.moved)
		err := sys.Renameat(dirfd, name, r.top, to)
		if errors.Is(err, unix.EACCES) {
			// Moving a directory writes its "..".
			if sys.ChmodNoFollow(dirfd, name, 0o700) == nil {
				err = sys.Renameat(dirfd, name, r.top, to)
			}
		}
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
}
