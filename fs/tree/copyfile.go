package tree

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// small is the size in bytes up to which one read and one write cost less than
// one copy_file_range(2): by a measurement on ext4 (Linux 6.18).
const small = 32 << 10

// file copies one entry that is not a directory.
func (w *worker) file(p *pair, e entry) error {
	name := e.name
	// Only what is known to be a regular file is opened before it is looked at:
	// opening a device or a fifo acts.
	if e.typ == unix.DT_REG {
		return w.regular(p, name)
	}
	var st unix.Stat_t
	if err := sys.Fstatat(p.src, name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		return w.regular(p, name)
	}
	if st.Nlink > 1 && w.seen(&st, below(p.rel, name)) {
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := sys.Readlinkat(p.src, name)
		if err == nil {
			err = sys.Symlinkat(target, p.dst, name)
		}
		if err != nil {
			return err
		}
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFBLK, unix.S_IFCHR:
		if w.opt.NoOwner {
			return nil
		}
		fallthrough
	default:
		if err := sys.Mknodat(p.dst, name, st.Mode, uint64(st.Rdev)); err != nil {
			return err
		}
	}
	return w.sealSpecial(p, name, &st)
}

// seen tells whether the file has a name in the copy already, which then gets
// another one at the end.
func (w *worker) seen(st *unix.Stat_t, rel string) bool {
	id := inode{uint64(st.Dev), uint64(st.Ino)}
	w.mu.Lock()
	defer w.mu.Unlock()
	first, ok := w.links[id]
	if ok {
		w.extra = append(w.extra, extraName{first, rel})
	} else {
		w.links[id] = rel
	}
	return ok
}

func (w *worker) regular(p *pair, name string) error {
	src, err := w.openSource(p.src, name, unix.O_NONBLOCK, 0o400)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := sys.Fstat(src, &st); err != nil {
		return err
	}
	if st.Nlink > 1 && w.seen(&st, below(p.rel, name)) {
		return nil
	}
	var attrs []string
	if !w.opt.NoXattr {
		if attrs, err = sys.Flistxattr(src); err != nil && !sys.NoXattr(err) {
			return err
		}
	}
	mode, create := st.Mode&0o7777, st.Mode&0o777
	if len(attrs) > 0 {
		create = 0o600 // "user." attributes ask for the right to write
	}
	dst, err := sys.Openat(p.dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, create)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	if err := w.contents(dst, src, &st); err != nil {
		return err
	}
	if !w.opt.NoOwner && (st.Uid != w.uid || st.Gid != w.gid || w.inherit) {
		if err := sys.Fchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if len(attrs) > 0 {
		if err := copyXattrs(src, dst, attrs); err != nil {
			return err
		}
	}
	// After chown, which takes the setuid bit.
	if mode != create&^w.umask {
		if err := sys.Fchmod(dst, mode); err != nil {
			return err
		}
	}
	return sys.Futimes(dst, st.Atim, st.Mtim)
}

// contents copies the data.
func (w *worker) contents(dst, src int, st *unix.Stat_t) error {
	size := int64(st.Size)
	switch {
	case size == 0:
		return nil
	case w.opt.Clone:
		err := sys.Clone(dst, src)
		// EINVAL: one file that cannot share (btrfs nodatacow), not the
		// filesystem.
		if !errors.Is(err, unix.EINVAL) {
			return err
		}
	case size <= small:
		return w.readWrite(dst, src, size)
	}
	if int64(st.Blocks)*512 < size {
		return w.sparse(dst, src, size)
	}
	return sys.CopyRange(dst, src, 0, size, w.data)
}

// readWrite copies what fits into one read.
func (w *worker) readWrite(dst, src int, size int64) error {
	var n int
	for n < int(size) {
		c, err := unix.Read(src, w.data[n:size])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if c == 0 {
			return io.ErrUnexpectedEOF
		}
		n += c
	}
	return sys.PwriteAll(dst, w.data[:n], 0)
}

// sparse copies the stretches of data and leaves the holes.
func (w *worker) sparse(dst, src int, size int64) error {
	for off := int64(0); off < size; {
		start, end, ok := sys.NextData(src, off, size)
		if !ok {
			return w.sparseByHand(dst, src, off, size)
		}
		if start < end {
			if err := sys.CopyRange(dst, src, start, end-start, w.data); err != nil {
				return err
			}
		}
		off = max(end, start)
	}
	return unix.Ftruncate(dst, size)
}

// sparseByHand leaves a hole wherever a block is all zeros.
func (w *worker) sparseByHand(dst, src int, off, size int64) error {
	for off < size {
		n, err := unix.Pread(src, w.data[:min(int64(len(w.data)), size-off)], off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if err := WriteSparse(dst, w.data[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return unix.Ftruncate(dst, size)
}

// WriteSparse writes b at off but for its all-zero blocks of 4096 bytes. The
// caller sets the file's size.
func WriteSparse(fd int, b []byte, off int64) error {
	const block = 4096
	for len(b) > 0 {
		n := min(len(b), block)
		if !zero(b[:n]) {
			for n < len(b) && !zero(b[n:min(len(b), n+block)]) {
				n = min(len(b), n+block)
			}
			if err := sys.PwriteAll(fd, b[:n], off); err != nil {
				return err
			}
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

var zeros [4096]byte

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// sealSpecial gives a link, device or fifo its metadata.
func (w *worker) sealSpecial(p *pair, name string, st *unix.Stat_t) error {
	link := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if !w.opt.NoOwner && (st.Uid != w.uid || st.Gid != w.gid || w.inherit) {
		if err := sys.Fchownat(p.dst, name, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if !w.opt.NoXattr && w.uid == 0 {
		if err := specialXattrs(p, name); err != nil {
			return err
		}
	}
	if !link {
		if err := sys.ChmodNoFollow(p.dst, name, st.Mode&0o7777); err != nil {
			return err
		}
	}
	return sys.UtimesAt(p.dst, name, st.Atim, st.Mtim)
}

// skipXattr names attributes that belong to the place and not to the file.
func skipXattr(attr string) bool {
	return attr == "security.selinux" || strings.HasPrefix(attr, "trusted.overlay.")
}

func (w *worker) xattrs(src, dst int) error {
	attrs, err := sys.Flistxattr(src)
	if err != nil {
		if sys.NoXattr(err) {
			return nil
		}
		return err
	}
	return copyXattrs(src, dst, attrs)
}

func copyXattrs(src, dst int, attrs []string) error {
	for _, a := range attrs {
		if skipXattr(a) {
			continue
		}
		v, err := sys.Fgetxattr(src, a)
		if err == nil {
			err = sys.Fsetxattr(dst, a, v)
		}
		if err != nil && !sys.NoXattr(err) && !errors.Is(err, unix.ENODATA) {
			return err
		}
	}
	return nil
}

func specialXattrs(p *pair, name string) error {
	attrs, err := sys.Listxattrat(p.src, name)
	if err != nil {
		return nil // no /proc, or a filesystem without
	}
	for _, a := range attrs {
		if skipXattr(a) {
			continue
		}
		v, err := sys.Getxattrat(p.src, name, a)
		if err == nil {
			err = sys.Setxattrat(p.dst, name, a, v)
		}
		if err != nil && !sys.NoXattr(err) && !errors.Is(err, unix.ENODATA) {
			return err
		}
	}
	return nil
}
