package changes

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"coracle/fs/tree"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// unpacker puts the files of a tar below a directory, beside what is there:
// Docker's rules for cp. A directory gives way to a directory only.
type unpacker struct {
	ctx  context.Context
	root int    // what absolute links mean
	dest string // below root
	said string // what errors call the directory; "" for dest
	// old and name: the first name in the archive, and what it is to be; "" for
	// name leaves it.
	old, name string
	// links: directories may be reached through symbolic links, as a tar made
	// for the container's tree may mean; within root.
	links bool
	// chown gives the files to the owner in the archive, or to owner.
	chown bool
	owner *owner
	// users: in a user namespace, where no device can be made.
	users bool
	warn  func(string)

	at    *way // the directory of the last entry
	dir   string
	times []dirTime
	// squashed: an owner was left out, and it was said.
	squashed bool
	buf      []byte
}

type owner struct{ UID, GID int }

type dirTime struct {
	name string
	t    time.Time
}

// unpack reads r to its end.
func (u *unpacker) unpack(r io.Reader) error {
	u.buf = make([]byte, 1<<17)
	defer u.leave()
	for tr := tar.NewReader(&cancelled{u.ctx, r}); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	for i := len(u.times) - 1; i >= 0; i-- {
		if err := u.setTime(u.times[i]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) leave() {
	if u.at != nil {
		u.at.close()
		u.at = nil
	}
}

// inside makes a name of the archive relative to dest.
func (u *unpacker) inside(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%q leads out of the directory", name)
	}
	switch {
	case u.name == "":
	case u.old == "" || u.old == ".":
		clean = path.Join(u.name, clean)
	case clean == u.old:
		clean = u.name
	default:
		if rest, ok := strings.CutPrefix(clean, u.old+"/"); ok {
			clean = u.name + "/" + rest
		}
	}
	return clean, nil
}

// parent opens the directory of a clean name, and makes what is missing of it.
func (u *unpacker) parent(name string) (dirfd int, base string, err error) {
	dir, base := path.Split(name)
	if u.at != nil && dir == u.dir {
		return u.at.top(), base, nil
	}
	u.leave()
	if u.at, err = u.walk(dir, makeDir); err != nil {
		return -1, "", named(u.full(name), err)
	}
	u.dir = dir
	return u.at.top(), base, nil
}

// walk opens a directory below dest.
func (u *unpacker) walk(dir string, missing func(int, string) error) (*way, error) {
	w, err := begin(u.root)
	if err != nil {
		return nil, err
	}
	if _, err = w.find(u.dest+"/", true); err == nil && dir != "" {
		w.missing, w.plain = missing, !u.links
		_, err = w.find(dir, true)
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func makeDir(fd int, name string) error {
	if err := sys.Mkdirat(fd, name, 0o755); err != nil {
		return err
	}
	return sys.ChmodNoFollow(fd, name, 0o755)
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name, err := u.inside(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		return nil // the directory itself stays as it is
	}
	fd, base, err := u.parent(name)
	if err != nil {
		return err
	}
	exists, err := u.clear(fd, base, name, h)
	if err != nil {
		return err
	}
	return named(u.full(name), u.make(fd, base, name, exists, h, r))
}

// make makes what an entry is about.
func (u *unpacker) make(fd int, base, name string, exists bool, h *tar.Header, r io.Reader) (err error) {
	if plain(h) {
		return u.whole(fd, base, h, r)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if !exists {
			err = sys.Mkdirat(fd, base, 0o700)
		}
		u.times = append(u.times, dirTime{name, h.ModTime})
	case tar.TypeLink:
		return u.link(fd, base, h)
	case tar.TypeSymlink:
		err = sys.Symlinkat(h.Linkname, fd, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		var made bool
		if made, err = u.special(fd, base, h); err == nil && !made {
			return nil
		}
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("entry of unknown type %q", h.Typeflag)
	}
	if err == nil {
		err = u.seal(fd, base, h)
	}
	return err
}

// full is a name below dest, as errors call it.
func (u *unpacker) full(name string) string {
	if u.said != "" {
		return path.Join(u.said, name)
	}
	return path.Join(u.dest, name)
}

// named says which file an error is about, in full: calls by descriptor know a last
// name alone, and often one that we made up. A pipe has a name of its own.
func named(full string, err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *os.PathError:
		if !path.IsAbs(e.Path) && !strings.HasPrefix(e.Path, "|") {
			return &os.PathError{Op: e.Op, Path: full, Err: e.Err}
		}
		return err
	case *os.SyscallError:
		return &os.PathError{Op: e.Syscall, Path: full, Err: e.Err}
	}
	return fmt.Errorf("%s: %w", full, err)
}

// plain tells whether an entry is a file with contents.
func plain(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse || h.Typeflag == 0
}

// clear makes room for an entry; exists: there is a directory, and it is one.
func (u *unpacker) clear(fd int, base, name string, h *tar.Header) (exists bool, err error) {
	var st unix.Stat_t
	if err := sys.Fstatat(fd, base, &st); errors.Is(err, unix.ENOENT) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	isDir := uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR
	dest := u.full("")
	switch at := u.full(name); {
	case isDir && h.Typeflag != tar.TypeDir:
		return false, fmt.Errorf("cannot overwrite directory %q with non-directory %q", at, dest)
	case !isDir && h.Typeflag == tar.TypeDir:
		return false, fmt.Errorf("cannot overwrite non-directory %q with directory %q", at, dest)
	case isDir:
		return true, nil
	case plain(h):
		return false, nil // replaced by a rename
	}
	return false, sys.Unlinkat(fd, base, 0)
}

// whole makes a file aside and puts it in the place of what there is when nothing is
// missing: a full disk, or our end, leaves what was there.
func (u *unpacker) whole(fd int, base string, h *tar.Header, r io.Reader) error {
	aside := ".coracle-cp-" + rand.Text()
	err := u.regular(fd, aside, h, r)
	if err == nil {
		err = u.seal(fd, aside, h)
	}
	if err == nil {
		err = sys.Renameat(fd, aside, fd, base)
	}
	if err != nil {
		sys.Unlinkat(fd, aside, 0)
	}
	return err
}

func (u *unpacker) regular(dirfd int, base string, h *tar.Header, r io.Reader) error {
	fd, err := sys.Openat(dirfd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	var off int64
	for {
		n, err := io.ReadFull(r, u.buf)
		if n > 0 {
			if err := tree.WriteSparse(fd, u.buf[:n], off); err != nil {
				return err
			}
			off += int64(n)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && off == h.Size {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := f.Truncate(off); err != nil {
		return err
	}
	return f.Close()
}

func (u *unpacker) link(fd int, base string, h *tar.Header) error {
	target, err := u.inside(h.Linkname)
	if err != nil {
		return err
	}
	dir, last := path.Split(target)
	w, err := u.walk(dir, nil)
	if err != nil {
		return fmt.Errorf("link to %s: %w", h.Linkname, err)
	}
	defer w.close()
	return sys.Linkat(w.top(), last, fd, base)
}

func (u *unpacker) special(fd int, base string, h *tar.Header) (made bool, err error) {
	mode := uint32(unix.S_IFIFO)
	switch h.Typeflag {
	case tar.TypeChar:
		mode = unix.S_IFCHR
	case tar.TypeBlock:
		mode = unix.S_IFBLK
	}
	if u.users && mode != unix.S_IFIFO {
		u.warn(h.Name + ": device left out: this user cannot make one")
		return false, nil
	}
	return true, sys.Mknodat(fd, base, mode|0o600, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
}

// seal gives what was made its owner, attributes, mode and time, in the order
// in which none takes another away: chown(2) drops capabilities and setuid.
func (u *unpacker) seal(fd int, base string, h *tar.Header) error {
	uid, gid := h.Uid, h.Gid
	if u.owner != nil {
		uid, gid = u.owner.UID, u.owner.GID
	}
	if u.chown {
		err := sys.Fchownat(fd, base, uid, gid)
		if u.users && errors.Is(err, unix.EINVAL) {
			// No such ID in the user namespace.
			if !u.squashed {
				u.warn(fmt.Sprintf("%s: this user has no ID for owner %d:%d: it, and what else there is of the kind, becomes root's", h.Name, uid, gid))
			}
			u.squashed, err = true, nil
		}
		if err != nil {
			return err
		}
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !portable(name) {
			continue
		}
		if err := sys.Setxattrat(fd, base, name, []byte(value)); err != nil && !sys.NoXattr(err) {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := sys.ChmodNoFollow(fd, base, uint32(h.Mode)&0o7777); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	ts := timespec(h.ModTime)
	return sys.UtimesAt(fd, base, ts, ts)
}

// timespec is t, or the beginning of the epoch for a time that the kernel's
// structure does not hold.
func timespec(t time.Time) unix.Timespec {
	ts, err := unix.TimeToTimespec(t)
	if err != nil || t.IsZero() {
		return unix.Timespec{}
	}
	return ts
}

// setTime sets a directory's time when all that is in it has been made.
func (u *unpacker) setTime(d dirTime) error {
	dir, base := path.Split(d.name)
	w, err := u.walk(dir, nil)
	if err != nil {
		return err
	}
	defer w.close()
	ts := timespec(d.t)
	return sys.UtimesAt(w.top(), base, ts, ts)
}
