package tree

import (
	"errors"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// batch is how many files of a directory are handed to a worker that has
// nothing else to do. Otherwise a directory stays with one worker: the kernel
// makes one name in a directory at a time, so a second would wait for the first.
const batch = 32

type worker struct {
	*copier
	data  []byte
	dents []byte
	// atime: reading may change the source's access times, which only their
	// owner can forbid.
	atime bool
}

// directory copies the directory rel: its subdirectories become jobs, its files
// are copied here and, where they are many, by others too.
func (w *worker) directory(rel string) error {
	p, err := w.open(rel)
	if err != nil {
		return err
	}
	var files []entry
	var dirs []string
	err = sys.Dirents(p.src, w.dents, func(name string, typ byte) error {
		if typ == unix.DT_UNKNOWN {
			var st unix.Stat_t
			if err := sys.Fstatat(p.src, name, &st); err != nil {
				return err
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				typ = unix.DT_DIR
			}
		}
		if typ == unix.DT_DIR {
			dirs = append(dirs, name)
		} else {
			files = append(files, entry{name, typ})
		}
		return nil
	})
	for i := 0; i < len(dirs) && err == nil; i++ {
		if err = sys.Mkdirat(p.dst, dirs[i], 0o700); err == nil {
			w.push(job{rel: below(rel, dirs[i])})
		}
	}
	return w.files(p, files, err)
}

// open opens the directory on both sides.
func (w *worker) open(rel string) (*pair, error) {
	p := &pair{rel: rel, refs: 1}
	var err error
	if p.src, err = w.openSource(w.src, rel, unix.O_DIRECTORY, 0o500); err != nil {
		return nil, err
	}
	if err = sys.Fstat(p.src, &p.st); err == nil {
		p.dst, err = sys.OpenDirat(w.dst, rel)
	}
	if err != nil {
		unix.Close(p.src)
		return nil, err
	}
	return p, nil
}

// openSource opens a file of the source, whose mode may forbid even its owner
// to read it: an ordinary user's tree keeps the modes of the image. The mode is
// then raised for a moment; who looks at just that moment copies a mode that
// lets the owner read, which changes nothing for a container's root.
func (w *worker) openSource(dirfd int, name string, flags int, raise uint32) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW
	fd, err := w.openQuietly(dirfd, name, flags)
	if err == nil || !isDenied(err) {
		return fd, err
	}
	var st unix.Stat_t
	if sys.Fstatat(dirfd, name, &st) != nil || st.Uid != w.uid {
		return -1, err
	}
	mode := st.Mode & 0o7777
	if sys.ChmodNoFollow(dirfd, name, mode|raise) != nil {
		return -1, err
	}
	fd, err = sys.Openat(dirfd, name, flags, 0)
	if fd < 0 || flags&unix.O_DIRECTORY == 0 {
		sys.ChmodNoFollow(dirfd, name, mode)
		return fd, err
	}
	// A directory stays open to its owner until its subdirectories are copied.
	w.mu.Lock()
	w.lent = append(w.lent, lateMode{name, mode})
	w.mu.Unlock()
	return fd, nil
}

// openQuietly opens without a change of the access time: with "relatime" the
// first copy of an image would otherwise write every inode of it.
func (w *worker) openQuietly(dirfd int, name string, flags int) (int, error) {
	if !w.atime {
		fd, err := sys.Openat(dirfd, name, flags|unix.O_NOATIME, 0)
		if !errors.Is(err, unix.EPERM) {
			return fd, err
		}
		w.atime = true // someone else's file, and we are not root
	}
	return sys.Openat(dirfd, name, flags, 0)
}

// files copies files of p unless there was an error, and lets go of p.
func (w *worker) files(p *pair, files []entry, err error) error {
	for i := 0; i < len(files) && err == nil; i++ {
		if i%16 == 15 {
			if err = w.failed(); err != nil {
				break
			}
			files = w.share(p, files, i+1)
		}
		err = w.file(p, files[i])
	}
	w.mu.Lock()
	p.refs--
	last := p.refs == 0
	w.mu.Unlock()
	if !last {
		return err
	}
	if err == nil {
		err = w.seal(p)
	}
	unix.Close(p.src)
	unix.Close(p.dst)
	return err
}

// share hands the last of files to a worker that has nothing to do, if any of
// them are left beyond the first done, and returns the others.
func (w *worker) share(p *pair, files []entry, done int) []entry {
	keep := len(files) - batch
	if keep < done+batch || !w.starving() {
		return files
	}
	w.mu.Lock()
	p.refs++
	w.mu.Unlock()
	w.push(job{dir: p, files: files[keep:]})
	return files[:keep]
}

// seal gives the copied directory its metadata: all that it holds is made.
func (w *worker) seal(p *pair) error {
	if !w.opt.NoOwner && (p.st.Uid != w.uid || p.st.Gid != w.gid || w.inherit) {
		if err := sys.Fchown(p.dst, int(p.st.Uid), int(p.st.Gid)); err != nil {
			return err
		}
	}
	if !w.opt.NoXattr {
		if err := w.xattrs(p.src, p.dst); err != nil {
			return err
		}
	}
	mode := p.st.Mode & 0o7777
	if w.uid != 0 {
		mode = w.lateMode(p.rel, mode)
	}
	if mode != 0o700&^w.umask || w.inherit || p.rel == "." {
		if err := sys.Fchmod(p.dst, mode); err != nil {
			return err
		}
	}
	return sys.Futimes(p.dst, p.st.Atim, p.st.Mtim)
}

// lateMode is the mode that a directory gets for now.
func (w *worker) lateMode(rel string, mode uint32) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lent {
		if l.rel == rel {
			mode = l.mode // as it was before it was lent to us
		}
	}
	if mode&0o700 == 0o700 {
		return mode
	}
	w.late = append(w.late, lateMode{rel, mode})
	return mode | 0o700
}
