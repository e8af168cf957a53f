package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// CompareOptions say how Compare compares.
type CompareOptions struct {
	NoOwner bool // who owns a file does not matter
	NoXattr bool // nor do extended attributes
	// Mend makes have like want, which loses what it gives. What is right stays
	// as it is, so that who uses have can go on.
	Mend bool
	// Differs is told of each difference: the path below the root, and what.
	Differs func(path, what string)
}

// Compare tells in what the tree have is not like the tree want: kinds, modes,
// owners, attributes, contents, and the times of files. Nothing but the names on
// the way to one directory is held in memory.
func Compare(ctx context.Context, have, want string, opt CompareOptions) error {
	c := &comparer{ctx: ctx, opt: opt, dents: make([]byte, 32<<10), a: make([]byte, 128<<10), b: make([]byte, 128<<10)}
	h, err := sys.Openat(unix.AT_FDCWD, have, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(h)
	w, err := sys.Openat(unix.AT_FDCWD, want, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(w)
	return c.directory(h, w, "")
}

type comparer struct {
	ctx   context.Context
	opt   CompareOptions
	dents []byte
	a, b  []byte
}

func (c *comparer) differs(path, what string) { c.opt.Differs("/"+path, what) }

// directory compares two open directories, and what is in them.
func (c *comparer) directory(have, want int, rel string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var hs, ws unix.Stat_t
	if err := sys.Fstat(have, &hs); err != nil {
		return err
	}
	if err := sys.Fstat(want, &ws); err != nil {
		return err
	}
	if what, err := c.meta(have, "", want, "", &hs, &ws); err != nil {
		return err
	} else if what != "" {
		c.differs(rel, what)
		if err := c.likeDir(have, want, &ws); err != nil {
			return err
		}
	}
	hn, err := c.names(have)
	if err != nil {
		return err
	}
	wn, err := c.names(want)
	if err != nil {
		return err
	}
	touched := false
	for len(hn) > 0 || len(wn) > 0 {
		switch order := first(hn, wn); {
		case order < 0:
			c.differs(join(rel, hn[0]), "should not be there")
			if c.opt.Mend {
				touched = true
				if err := RemoveAt(c.ctx, have, hn[0]); err != nil {
					return err
				}
			}
			hn = hn[1:]
		case order > 0:
			c.differs(join(rel, wn[0]), "is missing")
			if c.opt.Mend {
				touched = true
				if err := sys.Renameat(want, wn[0], have, wn[0]); err != nil {
					return err
				}
			}
			wn = wn[1:]
		default:
			moved, err := c.entry(have, want, hn[0], rel)
			if err != nil {
				return err
			}
			touched = touched || moved
			hn, wn = hn[1:], wn[1:]
		}
	}
	if touched {
		return sys.Futimes(have, ws.Atim, ws.Mtim)
	}
	return nil
}

// first is -1 where the next name is in a alone, 1 where it is in b alone.
func first(a, b []string) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return strings.Compare(a[0], b[0])
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (c *comparer) names(fd int) ([]string, error) {
	var all []string
	err := sys.Dirents(fd, c.dents, func(name string, _ byte) error { all = append(all, name); return nil })
	slices.Sort(all)
	return all, err
}

// entry compares one name that both have, and tells whether it was replaced.
func (c *comparer) entry(have, want int, name, rel string) (moved bool, err error) {
	var hs, ws unix.Stat_t
	if err := sys.Fstatat(have, name, &hs); err != nil {
		return false, err
	}
	if err := sys.Fstatat(want, name, &ws); err != nil {
		return false, err
	}
	const format = unix.S_IFMT
	if hs.Mode&format == unix.S_IFDIR && ws.Mode&format == unix.S_IFDIR {
		h, err := openAny(have, name, &hs)
		if err != nil {
			return false, err
		}
		defer unix.Close(h)
		w, err := openAny(want, name, &ws)
		if err != nil {
			return false, err
		}
		defer unix.Close(w)
		err = c.directory(h, w, join(rel, name))
		for _, d := range [...]struct {
			dirfd, fd int
			st        *unix.Stat_t
		}{{have, h, &hs}, {want, w, &ws}} {
			var now unix.Stat_t
			if hs.Mode == ws.Mode && sys.Fstat(d.fd, &now) == nil && now.Mode != d.st.Mode {
				sys.Fchmod(d.fd, d.st.Mode&0o7777) // it was opened to its owner to be read
			}
		}
		return false, err
	}
	what := "is of another kind"
	if hs.Mode&format == ws.Mode&format {
		if what, err = c.meta(have, name, want, name, &hs, &ws); err == nil && what == "" {
			what, err = c.contents(have, want, name, &hs, &ws)
		}
		if err != nil || what == "" {
			return false, err
		}
	}
	c.differs(join(rel, name), what)
	if !c.opt.Mend {
		return false, nil
	}
	if hs.Mode&format == unix.S_IFDIR || ws.Mode&format == unix.S_IFDIR {
		if err := RemoveAt(c.ctx, have, name); err != nil {
			return false, err
		}
	}
	return true, sys.Renameat(want, name, have, name)
}

// meta compares what two files of one kind say of themselves. Without a name the
// descriptor is the file.
func (c *comparer) meta(have int, hname string, want int, wname string, hs, ws *unix.Stat_t) (what string, err error) {
	kind := ws.Mode & unix.S_IFMT
	switch {
	case kind != unix.S_IFLNK && hs.Mode != ws.Mode:
		return fmt.Sprintf("has the mode %04o, not %04o", hs.Mode&0o7777, ws.Mode&0o7777), nil
	case !c.opt.NoOwner && (hs.Uid != ws.Uid || hs.Gid != ws.Gid):
		return fmt.Sprintf("belongs to %d:%d, not %d:%d", hs.Uid, hs.Gid, ws.Uid, ws.Gid), nil
	case (kind == unix.S_IFREG && ws.Size > 0 || kind == unix.S_IFLNK) && hs.Mtim != ws.Mtim:
		return "has another time", nil // of whiteouts and of directories on the way nobody said one
	case kind != unix.S_IFDIR && hs.Nlink != ws.Nlink:
		return fmt.Sprintf("has %d names, not %d", hs.Nlink, ws.Nlink), nil
	case kind == unix.S_IFREG && hs.Size != ws.Size:
		return fmt.Sprintf("has %d bytes, not %d", hs.Size, ws.Size), nil
	case (kind == unix.S_IFCHR || kind == unix.S_IFBLK) && hs.Rdev != ws.Rdev:
		return "is another device", nil
	}
	if c.opt.NoXattr {
		return "", nil
	}
	a, err := attributes(have, hname)
	if err != nil {
		return "", err
	}
	b, err := attributes(want, wname)
	if err != nil {
		return "", err
	}
	for name, v := range b {
		if o, ok := a[name]; !ok || !bytes.Equal(o, v) {
			return "has another attribute " + name, nil
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok {
			return "has an attribute " + name, nil
		}
	}
	return "", nil
}

// attributes are those that archives carry; the rest is the host's.
func attributes(fd int, name string) (map[string][]byte, error) {
	list := func() ([]string, error) { return sys.Flistxattr(fd) }
	get := func(attr string) ([]byte, error) { return sys.Fgetxattr(fd, attr) }
	if name != "" {
		list = func() ([]string, error) { return sys.Listxattrat(fd, name) }
		get = func(attr string) ([]byte, error) { return sys.Getxattrat(fd, name, attr) }
	}
	names, err := list()
	if err != nil {
		if sys.NoXattr(err) {
			err = nil
		}
		return nil, err
	}
	out := map[string][]byte{}
	for _, n := range names {
		if strings.HasPrefix(n, "security.") && n != "security.capability" {
			continue
		}
		v, err := get(n)
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return nil, err
		}
		out[n] = v
	}
	return out, nil
}

// contents compares the data of files, and where links lead to.
func (c *comparer) contents(have, want int, name string, hs, ws *unix.Stat_t) (what string, err error) {
	switch ws.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		a, err := sys.Readlinkat(have, name)
		if err != nil {
			return "", err
		}
		b, err := sys.Readlinkat(want, name)
		if err != nil || a == b {
			return "", err
		}
		return fmt.Sprintf("leads to %q, not to %q", a, b), nil
	case unix.S_IFREG:
	default:
		return "", nil
	}
	if hs.Size == 0 {
		return "", nil
	}
	h, err := openAny(have, name, hs)
	if err != nil {
		return "", err
	}
	defer unix.Close(h)
	w, err := openAny(want, name, ws)
	if err != nil {
		return "", err
	}
	defer unix.Close(w)
	for at := int64(0); ; {
		n, err := readAt(h, c.a, at)
		if errors.Is(err, unix.EIO) {
			return "cannot be read: " + err.Error(), nil // what a bad disk says
		}
		if err != nil {
			return "", err
		}
		m, err := readAt(w, c.b, at)
		switch {
		case err != nil:
			return "", err
		case !bytes.Equal(c.a[:n], c.b[:m]):
			return "has other contents", nil
		case n == 0:
			return "", c.ctx.Err()
		}
		at += int64(n)
	}
}

// openAny opens a file whose mode may forbid even its owner to read it.
func openAny(dirfd int, name string, st *unix.Stat_t) (int, error) {
	flags, raise := unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, uint32(0o400)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags, raise = flags|unix.O_DIRECTORY, 0o700
	}
	fd, err := sys.Openat(dirfd, name, flags, 0)
	if !isDenied(err) || sys.ChmodNoFollow(dirfd, name, st.Mode&0o7777|raise) != nil {
		return fd, err
	}
	fd, err = sys.Openat(dirfd, name, flags, 0)
	if raise == 0o400 {
		sys.ChmodNoFollow(dirfd, name, st.Mode&0o7777)
	}
	return fd, err
}

// readAt fills buf as far as the file goes.
func readAt(fd int, buf []byte, at int64) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := unix.Pread(fd, buf[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

// likeDir gives a directory that is to be mended what another says of itself.
func (c *comparer) likeDir(have, want int, ws *unix.Stat_t) error {
	if !c.opt.Mend {
		return nil
	}
	if !c.opt.NoOwner {
		if err := sys.Fchown(have, int(ws.Uid), int(ws.Gid)); err != nil {
			return err
		}
	}
	if err := sys.Fchmod(have, ws.Mode&0o7777); err != nil {
		return err
	}
	if c.opt.NoXattr {
		return nil
	}
	right, err := attributes(want, "")
	if err != nil {
		return err
	}
	wrong, err := attributes(have, "")
	if err != nil {
		return err
	}
	for name := range wrong {
		if _, ok := right[name]; !ok {
			if err := unix.Fremovexattr(have, name); err != nil {
				return err
			}
		}
	}
	for name, v := range right {
		if err := sys.Fsetxattr(have, name, v); err != nil {
			return err
		}
	}
	return nil
}
