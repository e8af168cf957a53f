package changes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"coracle/internal/sys"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// walker compares two trees, and tells what the new one has that the old one
// has not, directories before what is in them.
type walker struct {
	ctx context.Context
	union
	// made: files of a flat tree whose inode did not change after that moment
	// are as they were copied.
	made unix.Timespec
	// tell is told of each change; n is nil for what was deleted.
	tell func(kind container.ChangeType, path string, n *node) error
	// covered are the paths on which something is mounted in a flat tree: the
	// mounts of a container without a mount namespace are the host's too.
	covered map[string]bool
	// way are the directories that we are in and that nobody was told of yet.
	way []told
}

type told struct {
	path string
	n    *node
}

// walk compares directories that are open; all of new is new where old is nil.
func (w *walker) walk(path string, old, fresh []dir) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	now, err := w.list(fresh)
	if err != nil {
		return err
	}
	before, err := w.list(old)
	if err != nil {
		return err
	}
	for len(now) > 0 || len(before) > 0 {
		var was, is *node
		if len(now) == 0 || len(before) > 0 && before[0].name <= now[0].name {
			was = before[0]
		}
		if len(before) == 0 || len(now) > 0 && now[0].name <= before[0].name {
			is = now[0]
		}
		if was != nil {
			before = before[1:]
		}
		if is != nil {
			now = now[1:]
		}
		if err := w.pair(path, was, is, old, fresh); err != nil {
			return err
		}
	}
	return nil
}

// pair compares one name.
func (w *walker) pair(path string, was, is *node, old, fresh []dir) error {
	switch {
	case is == nil:
		return w.change(container.ChangeDelete, path+"/"+was.name, nil)
	case w.covered[path+"/"+is.name]:
		return w.mountPoint(path+"/"+is.name, was, is, old)
	case was == nil && old != nil && runtimes(path+"/"+is.name, is):
		return nil
	case was == nil:
		if err := w.change(container.ChangeAdd, path+"/"+is.name, is); err != nil {
			return err
		}
		return w.below(path+"/"+is.name, nil, nil, is, fresh)
	case w.kind != "flat" && is.at > 0:
		// Of the image's own layers, with all that is below it.
		return nil
	}
	at := path + "/" + is.name
	differs, err := w.differ(was, is)
	if err != nil {
		return err
	}
	if differs {
		if err := w.change(container.ChangeModify, at, is); err != nil {
			return err
		}
	}
	if !was.is(unix.S_IFDIR) {
		return w.below(at, nil, nil, is, fresh)
	}
	if !is.is(unix.S_IFDIR) {
		return nil
	}
	if !differs {
		w.way = append(w.way, told{at, is})
		defer func() {
			// It is gone from there when it was told.
			if n := len(w.way); n > 0 && w.way[n-1].n == is {
				w.way = w.way[:n-1]
			}
		}()
	}
	return w.below(at, was, old, is, fresh)
}

// mountPoint tells of a place that something is mounted on, and of nothing that
// is mounted: what lies beneath cannot be seen.
func (w *walker) mountPoint(path string, was, is *node, old []dir) error {
	is.covered = true
	if is.is(unix.S_IFREG) {
		is.st.Size = 0
	}
	if was != nil || old != nil && runtimes(path, is) {
		return nil
	}
	return w.change(container.ChangeAdd, path, is)
}

// below goes into a directory; was is nil where all of it is new.
func (w *walker) below(path string, was *node, old []dir, is *node, fresh []dir) error {
	if !is.is(unix.S_IFDIR) {
		return nil
	}
	news, err := w.enter(fresh, is)
	if err != nil {
		return err
	}
	defer shut(news)
	var olds []dir
	if was != nil {
		if olds, err = w.enter(old, was); err != nil {
			return err
		}
		defer shut(olds)
	}
	return w.walk(path, olds, news)
}

// change tells of a change, and before of the directories on the way to it.
func (w *walker) change(kind container.ChangeType, path string, n *node) error {
	for _, d := range w.way {
		if err := w.tell(container.ChangeModify, d.path, d.n); err != nil {
			return err
		}
	}
	w.way = w.way[:0]
	return w.tell(kind, path, n)
}

// differ compares as Docker does: owner, mode, device, capabilities, and of
// other files than directories time and size. Where these are the same and the
// inode was touched nevertheless, the attributes and the contents count too: a
// program can set a time back.
func (w *walker) differ(a, b *node) (bool, error) {
	x, y := &a.st, &b.st
	if x.Mode != y.Mode || x.Uid != y.Uid || x.Gid != y.Gid || x.Rdev != y.Rdev {
		return true, nil
	}
	if !a.is(unix.S_IFDIR) && (x.Size != y.Size || x.Mtim != y.Mtim) {
		return true, nil
	}
	if w.kind == "flat" && !later(y.Ctim, w.made) {
		return false, nil
	}
	u, err := xattrs(a.fd, a.name)
	if err != nil {
		return false, err
	}
	v, err := xattrs(b.fd, b.name)
	if err != nil {
		return false, err
	}
	if len(u) != len(v) {
		return true, nil
	}
	for name, value := range u {
		if other, ok := v[name]; !ok || other != value {
			return true, nil
		}
	}
	if a.is(unix.S_IFREG) {
		same, err := sameContents(a, b)
		return !same, err
	}
	return false, nil
}

func later(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

func sameContents(a, b *node) (bool, error) {
	f, err := openFile(a.fd, a.name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	g, err := openFile(b.fd, b.name)
	if err != nil {
		return false, err
	}
	defer g.Close()
	x, y := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(f, x)
		m, err2 := io.ReadFull(g, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		for _, e := range [...]error{err, err2} {
			if e != nil && e != io.EOF && e != io.ErrUnexpectedEOF {
				return false, e
			}
		}
		if err != nil || err2 != nil {
			return n == m, nil
		}
	}
}

var errNotRegular = errors.New("not a regular file any more")

// openFile opens a regular file. What a container put in its place meanwhile
// is neither followed nor waited for.
func openFile(dirfd int, name string) (*os.File, error) {
	fd, err := sys.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := sys.Fstat(fd, &st); err != nil || uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, errors.Join(&os.PathError{Op: "open", Path: name, Err: errNotRegular}, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// runtimes are the places that a container's start makes for mounts in an image
// that lacks them; Docker keeps them in a layer of its own, which is no part of
// a commit.
func runtimes(path string, n *node) bool {
	switch path {
	case "/dev", "/proc", "/sys":
		return n.is(unix.S_IFDIR)
	case "/etc/hosts", "/etc/hostname", "/etc/resolv.conf":
		return n.is(unix.S_IFREG) && n.st.Size == 0
	case "/dev/pts", "/dev/shm", "/dev/mqueue":
		return n.is(unix.S_IFDIR)
	case "/dev/console":
		return true
	}
	return false
}
