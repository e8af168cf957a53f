package applet

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// extractor writes an archive's entries below a directory and nowhere else:
// os.Root follows no link that leaves it, whoever swaps a directory meanwhile.
type extractor struct {
	*archiver
	root *os.Root
	dirs []*tar.Header // their times and modes are set last
	own  bool
}

func (x *extractor) begin() error {
	if !x.o.has('x') || x.o.has('O') {
		return nil
	}
	x.own = os.Geteuid() == 0 && !x.o.has('o')
	var err error
	x.root, err = os.OpenRoot(x.dir)
	return err
}

func (x *extractor) end() {
	if x.root != nil {
		x.root.Close()
	}
}

// local is the name of an entry below the root; "" for the root itself.
func (x *extractor) local(name string) (string, error) {
	name = filepath.Clean(strings.TrimLeft(name, "/"))
	for range x.strip {
		_, rest, ok := strings.Cut(name, "/")
		if !ok {
			return "", nil
		}
		name = rest
	}
	if name == "." || name == "" {
		return "", nil
	}
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("name contains '..': refused")
	}
	return name, nil
}

func (x *extractor) extract(hdr *tar.Header, r io.Reader) error {
	name, err := x.local(hdr.Name)
	if name == "" || err != nil {
		return err
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := x.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	old, operr := x.root.Lstat(name)
	if operr == nil {
		switch {
		case hdr.Typeflag == tar.TypeDir && old.IsDir():
			x.dirs = append(x.dirs, hdr)
			return nil
		case x.o.has('k'):
			return os.ErrExist
		default:
			if err := x.root.Remove(name); err != nil {
				return err
			}
		}
	}
	perm := os.FileMode(hdr.Mode & 0o777)
	switch hdr.Typeflag {
	case tar.TypeDir:
		x.dirs = append(x.dirs, hdr)
		return x.root.Mkdir(name, perm|0o700)
	case tar.TypeReg, tar.TypeGNUSparse:
		err = x.file(name, perm, r)
	case tar.TypeSymlink:
		if err = x.root.Symlink(hdr.Linkname, name); err == nil && x.own {
			err = x.root.Lchown(name, hdr.Uid, hdr.Gid)
		}
		return err
	case tar.TypeLink:
		to, lerr := x.local(hdr.Linkname)
		if lerr != nil {
			return lerr
		}
		return x.root.Link(to, name)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = x.node(name, hdr)
	default:
		return fmt.Errorf("entry of unknown type %q", hdr.Typeflag)
	}
	if err != nil {
		return err
	}
	return x.attributes(name, hdr)
}

func (x *extractor) file(name string, perm os.FileMode, r io.Reader) error {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// node makes a device or a FIFO through its directory's descriptor, for which
// os.Root has no call.
func (x *extractor) node(name string, hdr *tar.Header) error {
	d, err := x.root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	mode := uint32(hdr.Mode & 0o777)
	switch hdr.Typeflag {
	case tar.TypeChar:
		mode |= syscall.S_IFCHR
	case tar.TypeBlock:
		mode |= syscall.S_IFBLK
	default:
		mode |= syscall.S_IFIFO
	}
	dev := unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	return unix.Mknodat(int(d.Fd()), filepath.Base(name), mode, int(dev))
}

func (x *extractor) attributes(name string, hdr *tar.Header) error {
	if x.own {
		if err := x.root.Lchown(name, hdr.Uid, hdr.Gid); err != nil {
			return err
		}
	}
	// Root keeps modes whole; others have their umask applied, as tar does.
	mode := uint32(hdr.Mode) & 0o7777
	if os.Geteuid() != 0 && !x.o.has('p') {
		mode = mode & 0o777 &^ currentUmask()
	}
	if err := x.root.Chmod(name, fileMode(mode)); err != nil {
		return err
	}
	if x.o.has('m') {
		return nil
	}
	return x.root.Chtimes(name, hdr.ModTime, hdr.ModTime)
}

func fileMode(m uint32) os.FileMode {
	f := os.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		f |= os.ModeSetuid
	}
	if m&0o2000 != 0 {
		f |= os.ModeSetgid
	}
	if m&0o1000 != 0 {
		f |= os.ModeSticky
	}
	return f
}

// dirTimes goes deepest first: setting a child's times changes none of its
// parent's, but a mode may shut us out.
func (x *extractor) dirTimes() error {
	for i := len(x.dirs) - 1; i >= 0; i-- {
		name, err := x.local(x.dirs[i].Name)
		if name == "" || err != nil {
			continue
		}
		if err := x.attributes(name, x.dirs[i]); err != nil && !errors.Is(err, os.ErrNotExist) {
			x.warnErr(x.dirs[i].Name, err)
		}
	}
	return nil
}
