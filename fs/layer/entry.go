package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"coracle/fs/tree"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// maxSparse bounds the apparent size of a sparse file where MaxBytes does not:
// archive/tar hands its holes out as zeros, which take time to read.
const maxSparse = 1 << 40

// entry unpacks one entry.
func (a *applier) entry(hdr *tar.Header, r io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := clean(hdr.Name)
	if err != nil {
		return err
	}
	if name == "" {
		return a.rootEntry(hdr)
	}
	dir, base := split(name)
	if housekeeping(name) {
		return nil
	}
	up, err := a.enter(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whPrefix) {
		return a.whiteout(up, base)
	}
	if len(join(up.real, base)) > maxName {
		return fmt.Errorf("%w: %w", ErrInvalid, unix.ENAMETOOLONG)
	}
	m, err := a.metaOf(hdr)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		err = a.regular(up, base, hdr, m, r)
	case tar.TypeDir:
		err = a.directory(up, base, m)
	case tar.TypeSymlink:
		err = a.symlink(up, base, hdr.Linkname, m)
	case tar.TypeLink:
		err = a.hardlink(up, dir, base, hdr.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = a.special(up, base, hdr, m)
	default:
		return fmt.Errorf("%w: entry of type %q", ErrInvalid, hdr.Typeflag)
	}
	if err == nil {
		a.own(join(up.real, base))
	}
	return err
}

func (a *applier) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrInvalid)
	}
	m, err := a.metaOf(hdr)
	if err != nil {
		return err
	}
	a.stats.Root = true
	l := a.stack[0]
	l.touched = true
	return a.sealDir(l, m)
}

// place makes an entry by make, and clears its place first where it is taken.
// hidden is as of clear.
func (a *applier) place(up *level, base string, make func() error) (hidden bool, err error) {
	up.touched = true
	err = make()
	if !errors.Is(err, unix.EEXIST) {
		if err == nil && a.opt.Style == AUFS {
			hidden, err = a.unhide(up, base)
		}
		return hidden, err
	}
	if hidden, err = a.clear(up, base); err != nil {
		return hidden, err
	}
	return hidden, make()
}

func (a *applier) regular(up *level, base string, hdr *tar.Header, m *meta, r io.Reader) error {
	sparse := isSparse(hdr)
	if sparse && a.opt.MaxBytes == 0 && hdr.Size > maxSparse {
		return &TooLargeError{maxSparse}
	}
	if err := a.spend(hdr.Size); err != nil {
		return err
	}
	fd := -1
	_, err := a.place(up, base, func() (err error) {
		fd, err = sys.Openat(up.fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, m.createMode())
		return err
	})
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if err != nil {
		return err
	}
	if err := a.contents(fd, hdr.Size, sparse, r); err != nil {
		return err
	}
	return a.sealFile(up, fd, m)
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	_, v0 := hdr.PAXRecords["GNU.sparse.map"]
	_, v1 := hdr.PAXRecords["GNU.sparse.major"]
	return v0 || v1
}

func (a *applier) contents(fd int, size int64, sparse bool, r io.Reader) error {
	for off := int64(0); off < size; {
		n, err := io.ReadFull(r, a.buf[:min(size-off, int64(len(a.buf)))])
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return readErr(err)
		}
		if sparse {
			err = tree.WriteSparse(fd, a.buf[:n], off)
		} else {
			err = sys.PwriteAll(fd, a.buf[:n], off)
		}
		if err != nil {
			return err
		}
		if off += int64(n); off < size {
			if err := a.ctx.Err(); err != nil {
				return err
			}
		}
	}
	a.stats.Bytes += size
	if sparse {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

func (a *applier) directory(up *level, base string, m *meta) error {
	real := join(up.real, base)
	up.touched = true
	err := sys.Mkdirat(up.fd, base, 0o700)
	hidden := false
	switch {
	case errors.Is(err, unix.EEXIST):
		var st unix.Stat_t
		if err := sys.Fstatat(up.fd, base, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			break // the two become one
		}
		if hidden, err = a.clear(up, base); err != nil {
			return err
		}
		if err := sys.Mkdirat(up.fd, base, 0o700); err != nil {
			return err
		}
	case err != nil:
		return err
	case a.opt.Style == AUFS:
		if hidden, err = a.unhide(up, base); err != nil {
			return err
		}
	}
	l := &level{name: base, real: real, touched: true}
	if l.fd, err = a.openDir(up.fd, base, real); err != nil {
		return err
	}
	if err := a.push(l); err != nil {
		return err
	}
	if hidden {
		if err := a.opaque(l); err != nil {
			return err
		}
	}
	return a.sealDir(l, m)
}

func (a *applier) symlink(up *level, base, target string, m *meta) error {
	if target == "" || len(target) > maxName {
		return fmt.Errorf("%w: symbolic link to a name of %d bytes", ErrInvalid, len(target))
	}
	_, err := a.place(up, base, func() error { return sys.Symlinkat(target, up.fd, base) })
	if err != nil {
		return err
	}
	return a.sealSpecial(up, base, m, true)
}

// hardlink makes another name of a file of the tree. The way to it may lead
// over links inside the tree; the last component is taken as it is, as link(2)
// does.
func (a *applier) hardlink(up *level, dir, base, target string) error {
	to, err := clean(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	toDir, toBase := split(to)
	if toBase == "" {
		return fmt.Errorf("%w: hard link to the root", ErrInvalid)
	}
	fd, real := up.fd, up.real
	if toDir != dir {
		if fd, real, err = a.resolve("", toDir, false); err != nil {
			return fmt.Errorf("hard link to %q: %w", target, err)
		}
		defer unix.Close(fd)
	}
	var st unix.Stat_t
	if err := sys.Fstatat(fd, toBase, &st); err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("%w: hard link to directory %q", ErrInvalid, target)
	}
	if real == up.real && toBase == base {
		return nil
	}
	_, err = a.place(up, base, func() error { return sys.Linkat(fd, toBase, up.fd, base) })
	return err
}

func (a *applier) special(up *level, base string, hdr *tar.Header, m *meta) error {
	kind := uint32(unix.S_IFIFO)
	var dev uint64
	if hdr.Typeflag != tar.TypeFifo {
		if a.opt.Squash {
			a.note("%s: device node left out", hdr.Name)
			return nil
		}
		if kind = unix.S_IFBLK; hdr.Typeflag == tar.TypeChar {
			kind = unix.S_IFCHR
		}
		if hdr.Devmajor < 0 || hdr.Devminor < 0 || hdr.Devmajor >= 1<<12 || hdr.Devminor >= 1<<20 {
			return fmt.Errorf("%w: device number %d:%d", ErrInvalid, hdr.Devmajor, hdr.Devminor)
		}
		dev = unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	}
	_, err := a.place(up, base, func() error { return sys.Mknodat(up.fd, base, kind|0o600, dev) })
	if errors.Is(err, unix.EPERM) && kind != unix.S_IFIFO {
		a.note("%s: device node left out: %v", hdr.Name, err)
		return nil
	}
	if err != nil {
		return err
	}
	return a.sealSpecial(up, base, m, false)
}
