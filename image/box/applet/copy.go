package applet

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// copier copies trees for cp, and for mv across filesystems.
type copier struct {
	*call
	deep, keep, force, verbose, ask bool
	noDeref, derefArgs              bool
	noClobber, update, links        bool
	made                            map[[2]uint64]string // for hard links: where an inode went
	dirs                            map[[2]uint64]bool   // directories we made: never copied into themselves
}

func cp(c *call) int {
	o := c.opts("aRrpdfilsLPHvTunt:", "archive=a", "recursive=R", "force=f", "verbose=v", "no-target-directory=T", "no-dereference=P", "no-clobber=n", "update=u", "preserve=p")
	k := &copier{call: c, made: map[[2]uint64]string{}, dirs: map[[2]uint64]bool{}}
	k.deep = o.has('a') || o.has('R') || o.has('r')
	k.keep = o.has('a') || o.has('p')
	k.force, k.verbose = o.has('f'), o.has('v')
	k.ask, k.noClobber, k.update, k.links = o.has('i') && !o.has('f'), o.has('n'), o.has('u'), o.has('l')
	switch o.latest("LPHad") {
	case 'P', 'a', 'd':
		k.noDeref = true
	case 'H':
		k.noDeref, k.derefArgs = true, true
	case 'L':
	default:
		k.noDeref = k.deep
		k.derefArgs = false
	}
	k.each2(o, func(src, dst string) { k.copy(src, dst, true) })
	return 0
}

// each2 calls fn with each source and the name it is to get.
func (k *copier) each2(o opts, fn func(src, dst string)) {
	c := k.call
	srcs, dest := c.args, ""
	if t, ok := o.last('t'); ok {
		c.want(1, -1)
		dest = t
	} else {
		c.want(2, -1)
		srcs, dest = c.args[:len(c.args)-1], c.args[len(c.args)-1]
	}
	fi, err := os.Stat(c.path(dest))
	isDir := err == nil && fi.IsDir() && !o.has('T')
	if !isDir && len(srcs) > 1 {
		c.die("target '%s' is not a directory", dest)
	}
	for _, src := range srcs {
		dst := dest
		if isDir {
			base := filepath.Base(src)
			if base == "/" || base == ".." {
				base = "."
			}
			dst = strings.TrimRight(dest, "/") + "/" + base
			if dest == "/" {
				dst = "/" + base
			}
		}
		if c.ctx.Err() == nil {
			fn(src, dst)
		}
	}
}

func inode(fi os.FileInfo) [2]uint64 {
	st := statOf(fi)
	return [2]uint64{uint64(st.Dev), uint64(st.Ino)}
}

// copy copies one file or tree and reports whether all of it was.
func (k *copier) copy(src, dst string, arg bool) bool {
	from, to := k.path(src), k.path(dst)
	stat := os.Stat
	if k.noDeref && !(arg && k.derefArgs) {
		stat = os.Lstat
	}
	fi, err := stat(from)
	if err != nil {
		k.warnErr(src, err)
		return false
	}
	old, olderr := os.Lstat(to)
	if olderr == nil {
		if t, err := os.Stat(to); err == nil && os.SameFile(t, fi) && fi.Mode()&os.ModeSymlink == 0 {
			k.warn("'%s' and '%s' are the same file", src, dst)
			return false
		}
		switch {
		case fi.IsDir():
		case k.noClobber, k.update && !fi.ModTime().After(old.ModTime()):
			return true
		case k.ask && !k.confirm("overwrite '%s'? ", dst):
			return true
		}
	}
	if fi.IsDir() {
		return k.copyDir(src, dst, from, to, fi)
	}
	if olderr == nil && old.IsDir() {
		k.warn("cannot overwrite directory '%s' with non-directory", dst)
		return false
	}
	return k.leaf(src, dst, from, to, fi, olderr == nil)
}

// leaf copies what is no directory.
func (k *copier) leaf(src, dst, from, to string, fi os.FileInfo, exists bool) bool {
	st := statOf(fi)
	var err error
	first := k.made[inode(fi)]
	switch {
	case k.links:
		err = os.Link(from, to)
	case k.keep && k.noDeref && st.Nlink > 1 && first != "":
		if exists {
			os.Remove(to)
		}
		err = os.Link(first, to)
	case fi.Mode()&os.ModeSymlink != 0:
		var target string
		if target, err = os.Readlink(from); err == nil {
			if exists {
				os.Remove(to)
			}
			err = os.Symlink(target, to)
		}
	case fi.Mode().IsRegular() || !k.deep:
		err = k.data(from, to, fi)
	default:
		if exists {
			os.Remove(to)
		}
		err = unix.Mknod(to, st.Mode, int(st.Rdev))
	}
	if err == nil && k.keep && !k.links {
		err = k.attributes(to, st)
	}
	if err != nil {
		k.warnErr("can't create '"+dst+"'", err)
		return false
	}
	if st.Nlink > 1 && first == "" {
		k.made[inode(fi)] = to
	}
	if k.verbose {
		k.printf("'%s' -> '%s'\n", src, dst)
	}
	return true
}

func (k *copier) data(from, to string, fi os.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	open := func() (*os.File, error) {
		return os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fi.Mode().Perm())
	}
	out, err := open()
	if err != nil && k.force && !errors.Is(err, os.ErrNotExist) {
		os.Remove(to)
		out, err = open()
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// attributes gives to the owner, mode and times of st. Who is not root cannot
// give files away, and then set-id bits would be wrong.
func (k *copier) attributes(to string, st *syscall.Stat_t) error {
	mode := st.Mode & 0o7777
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		mode &^= 0o6000
	}
	link := st.Mode&syscall.S_IFMT == syscall.S_IFLNK
	if !link {
		if err := syscall.Chmod(to, mode); err != nil {
			return err
		}
	}
	err := setTimes(to, st.Atim, st.Mtim, false, false, link)
	if link {
		return nil // 2.6.32 has filesystems that refuse times of links
	}
	return err
}

func (k *copier) copyDir(src, dst, from, to string, fi os.FileInfo) bool {
	if !k.deep {
		k.warn("omitting directory '%s'", src)
		return false
	}
	if k.dirs[inode(fi)] {
		k.warn("cannot copy a directory, '%s', into itself", src)
		return false
	}
	st := statOf(fi)
	err := os.Mkdir(to, os.FileMode(st.Mode&0o777|0o700))
	if err != nil {
		have, serr := os.Stat(to)
		if !errors.Is(err, os.ErrExist) || serr != nil || !have.IsDir() {
			k.warnErr("can't create directory '"+dst+"'", err)
			return false
		}
	}
	made := err == nil
	if now, err := os.Stat(to); err == nil {
		k.dirs[inode(now)] = true
	}
	f, err := os.Open(from)
	if err != nil {
		k.warnErr(src, err)
		return false
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	ok := err == nil
	if err != nil {
		k.warnErr(src, err)
	}
	for _, n := range names {
		if k.ctx.Err() != nil {
			return false
		}
		ok = k.copy(src+"/"+n, dst+"/"+n, false) && ok
	}
	if k.keep {
		err = k.attributes(to, st)
	} else if made {
		err = os.Chmod(to, os.FileMode(st.Mode&0o777&^currentUmask()))
	}
	if err != nil {
		k.warnErr(dst, err)
		return false
	}
	return ok
}

func mv(c *call) int {
	o := c.opts("finvTut:", "force=f", "interactive=i", "no-clobber=n", "verbose=v", "no-target-directory=T", "update=u")
	k := &copier{call: c, deep: true, keep: true, noDeref: true, force: true, made: map[[2]uint64]string{}, dirs: map[[2]uint64]bool{}}
	last := o.latest("fin")
	k.each2(o, func(src, dst string) {
		from, to := c.path(strings.TrimRight(src, "/")), c.path(strings.TrimRight(dst, "/"))
		fi, err := os.Lstat(from)
		if err != nil {
			c.warnErr(src, err)
			return
		}
		if old, err := os.Lstat(to); err == nil {
			switch {
			case os.SameFile(old, fi) && from == to:
				c.warn("'%s' and '%s' are the same file", src, dst)
				return
			case last == 'n', o.has('u') && !fi.ModTime().After(old.ModTime()):
				return
			case last == 'i' && !c.confirm("overwrite '%s'? ", dst):
				return
			}
		}
		err = syscall.Rename(from, to)
		if errors.Is(err, syscall.EXDEV) {
			if old, serr := os.Lstat(to); serr == nil && !old.IsDir() {
				os.Remove(to)
			}
			if k.copy(src, dst, true) {
				err = os.RemoveAll(from)
			} else {
				err = nil // said already; the source stays
			}
		}
		if err != nil {
			c.warnErr("can't rename '"+src+"'", err)
		} else if o.has('v') {
			c.printf("'%s' -> '%s'\n", src, dst)
		}
	})
	return 0
}
