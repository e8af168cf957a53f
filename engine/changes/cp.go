package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"coracle/engine/spec"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Docker's words.
var (
	errCannotCopyDir = errors.New("cannot copy directory")
	errNoSuchDir     = errors.New("no such directory")
	errNotDir        = errors.New("not a directory")
)

// spot is one end of a copy.
type spot struct {
	path   string // may end with "/" or "/.", which says that it is a directory
	exists bool
	dir    bool
	rebase string // the name that was asked for, where a link was followed
}

// split cuts a path into directory and last name; "." is the last name of what
// ends with "/.".
func split(p string) (dir, base string) {
	clean := path.Clean(p)
	if path.Base(p) == "." && clean != "." {
		return clean, "."
	}
	return path.Dir(clean), path.Base(clean)
}

func (s *spot) saysDir() bool { return strings.HasSuffix(s.path, "/") || path.Base(s.path) == "." }

// name is what s is called in its archive.
func (s *spot) name() string {
	if s.rebase != "" {
		return s.rebase
	}
	_, base := split(s.path)
	return base
}

// place tells into which directory src goes, and under which name; "" keeps
// the name that it has. They are the rules of `docker cp`, in its order.
func place(src, dst *spot) (dir, name string, err error) {
	dir, base := split(dst.path)
	switch {
	case dst.exists && dst.dir:
		return dst.path, "", nil
	case dst.exists && src.dir:
		return "", "", errCannotCopyDir
	case dst.exists, src.dir:
		return dir, base, nil
	case dst.saysDir():
		return "", "", errNoSuchDir
	}
	return dir, base, nil
}

// hostPath makes a path absolute, and keeps what its end says.
func hostPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	return keepEnd(abs, p), nil
}

// keepEnd gives a cleaned path the "/" or "/." that the original ends with.
func keepEnd(clean, original string) string {
	switch {
	case path.Base(original) == "." && path.Base(clean) != ".":
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(original, "/") && !strings.HasSuffix(clean, "/"):
		return clean + "/"
	}
	return clean
}

// hostSource looks at what is to be copied into a container.
func hostSource(p string, follow bool) (*spot, error) {
	p, err := hostPath(p)
	if err != nil {
		return nil, err
	}
	s := &spot{path: p, exists: true}
	if follow {
		if s.path, err = filepath.EvalSymlinks(p); err != nil {
			return nil, err
		}
		s.path = keepEnd(s.path, p)
	} else {
		dir, base := filepath.Split(p)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return nil, err
		}
		if s.path = strings.TrimSuffix(dir, "/") + "/" + base; base == "" {
			s.path = dir
		}
	}
	if path.Base(p) != path.Base(s.path) && path.Base(p) != "." {
		s.rebase = path.Base(p)
	}
	st, err := os.Lstat(s.path)
	if err != nil {
		return nil, err
	}
	s.dir = st.IsDir()
	return s, nil
}

// hostTarget looks at where something is to be copied to, through links. Its
// directory must be there.
func hostTarget(p string) (*spot, error) {
	s := &spot{path: p}
	for n := 0; ; n++ {
		st, err := os.Lstat(s.path)
		if errors.Is(err, os.ErrNotExist) {
			dir, _ := split(s.path)
			up, err := os.Stat(dir)
			if err != nil {
				return nil, err
			}
			if !up.IsDir() {
				return nil, errNotDir
			}
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		if st.Mode()&os.ModeSymlink == 0 {
			s.exists, s.dir = true, st.IsDir()
			return s, nil
		}
		if n >= 10 {
			return nil, fmt.Errorf("too many symlinks in %q", p)
		}
		target, err := os.Readlink(s.path)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(target) {
			dir, _ := split(s.path)
			target = filepath.Join(dir, target)
		}
		s.path = target
	}
}

// CopyOut copies src of the container to dst of the host. copied is the size of
// the archive, in bytes.
func (f *Files) CopyOut(ctx context.Context, src, dst string, follow bool) (copied int64, err error) {
	to, err := hostPath(dst)
	if err != nil {
		return 0, err
	}
	if err := validTarget(to); err != nil {
		return 0, err
	}
	from, err := f.source(ctx, src, follow)
	if err != nil {
		return 0, err
	}
	target, err := hostTarget(to)
	if err != nil {
		return 0, err
	}
	dir, name, err := place(from, target)
	if err != nil {
		return 0, err
	}
	if name == "" {
		name = from.rebase
	}
	return f.receive(ctx, from.path, dir, name)
}

// source looks at what is to be copied from the container.
func (f *Files) source(ctx context.Context, src string, follow bool) (*spot, error) {
	s := &spot{path: keepEnd(path.Join("/", src), src), exists: true}
	st, err := f.Stat(ctx, s.path)
	if err == nil && follow && st.Link() {
		target := keepEnd(st.LinkTarget, src)
		if path.Base(target) != path.Base(s.path) {
			s.rebase = path.Base(s.path)
		}
		s.path = target
		st, err = f.Stat(ctx, target)
	}
	if err != nil {
		return nil, err
	}
	s.dir = st.Dir()
	return s, nil
}

// CopyTar writes src of the container as a tar.
func (f *Files) CopyTar(ctx context.Context, src string, out io.Writer, follow bool) error {
	s, err := f.source(ctx, src, follow)
	if err != nil {
		return err
	}
	return f.Get(ctx, s.path, out)
}

// receive unpacks the archive of a path of the container below a directory of
// the host, with its first name replaced where there is a new one.
func (f *Files) receive(ctx context.Context, src, dir, name string) (int64, error) {
	fd, err := sys.OpenDirat(unix.AT_FDCWD, dir)
	if err != nil {
		if dir, err = filepath.EvalSymlinks(dir); err == nil {
			fd, err = sys.OpenDirat(unix.AT_FDCWD, dir)
		}
		if err != nil {
			return 0, err
		}
	}
	defer unix.Close(fd)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := f.Get(ctx, src, w)
		w.CloseWithError(err)
		done <- err
	}()
	n := &counter{r: r}
	u := &unpacker{ctx: ctx, root: fd, said: path.Clean(dir), old: lastName(src), name: name, warn: f.warn, users: os.Geteuid() != 0}
	err = u.unpack(n)
	r.CloseWithError(err)
	if e := <-done; err == nil || e != nil && !errors.Is(e, err) {
		err = e
	}
	return n.n, err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// validTarget refuses what Docker's CLI does before it asks for anything.
func validTarget(p string) error {
	if dir := filepath.Dir(filepath.Clean(p)); dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("invalid output path: directory %q does not exist", dir)
		}
	}
	st, err := os.Stat(p)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode()&os.ModeDevice != 0 {
		return fmt.Errorf("invalid output path: %q must be a directory or a regular file: got a device", p)
	}
	return nil
}

// CopyIn copies src of the host to dst of the container; where src is "-", the
// files of the tar in. to is the destination as it turned out to be.
func (f *Files) CopyIn(ctx context.Context, src, dst string, in io.Reader, follow, archive bool) (copied int64, to string, err error) {
	target := &spot{path: dst}
	st, err := f.Stat(ctx, dst)
	if err == nil && st.Link() {
		target.path = st.LinkTarget
		st, err = f.Stat(ctx, target.path)
	}
	if err == nil {
		if m := st.Mode & unix.S_IFMT; m == unix.S_IFCHR || m == unix.S_IFBLK {
			return 0, "", fmt.Errorf(`destination "%s:%s" must be a directory or a regular file: got a device`, f.ref, dst)
		}
		target.exists, target.dir = true, st.Dir()
	}
	if ctx.Err() != nil {
		return 0, "", ctx.Err()
	}
	if src == "-" {
		if !target.dir {
			return 0, "", fmt.Errorf(`destination "%s:%s" must be a directory`, f.ref, dst)
		}
		n := &counter{r: in}
		err := f.Put(ctx, target.path, n, archive)
		return n.n, target.path, err
	}
	from, err := hostSource(src, follow)
	if err != nil {
		return 0, "", err
	}
	dir, name, err := place(from, target)
	if err != nil {
		return 0, "", err
	}
	if name == "" {
		name = from.name()
	}
	n, err := f.send(ctx, from, dir, name, archive)
	return n, target.path, err
}

// send packs a path of the host as name and puts it into a directory.
func (f *Files) send(ctx context.Context, from *spot, dir, name string, archive bool) (int64, error) {
	up, base := split(from.path)
	if base == "/" || from.dir && strings.HasSuffix(from.path, "/") {
		up, base = path.Clean(from.path), "."
	}
	fd, err := sys.OpenDirat(unix.AT_FDCWD, up)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		p := newPacker(ctx, w)
		p.mine = spec.UserNS(f.held.Drivers.Isolation) && os.Geteuid() != 0
		err := p.path(fd, base, name, from.path)
		w.CloseWithError(err)
		done <- err
	}()
	n := &counter{r: r}
	err = f.Put(ctx, dir, n, archive)
	r.CloseWithError(io.ErrClosedPipe)
	// What could not be read is the reason, and not that the archive ended early.
	if e := <-done; e != nil && !errors.Is(e, io.ErrClosedPipe) {
		err = e
	}
	return n.n, err
}
