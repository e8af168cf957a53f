package applet

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// confirm asks on the terminal, if there is one to answer.
func (c *call) confirm(format string, a ...any) bool {
	c.out.Flush()
	c.warn0(format, a...)
	var b [1]byte
	var line []byte
	for {
		n, err := c.In.Read(b[:])
		if n == 0 || err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return len(line) > 0 && (line[0] == 'y' || line[0] == 'Y')
}

func (c *call) warn0(format string, a ...any) {
	code := c.code
	c.warn(format, a...)
	c.code = code
}

func rm(c *call) int {
	o := c.opts("rRfidv", "recursive=r", "force=f", "verbose=v", "no-preserve-root=N", "interactive=i")
	force := o.latest("fi") == 'f'
	if len(c.args) == 0 && !force {
		c.want(1, -1)
	}
	for _, name := range c.args {
		trimmed := strings.TrimRight(name, "/")
		if base := filepath.Base(name); base == "." && name != "" || base == ".." {
			c.warn("refusing to remove '.' or '..'")
			continue
		}
		if trimmed == "" && name != "" {
			c.warn("refusing to remove '/'")
			continue
		}
		removeTree(c, name, c.path(trimmed), o.has('r') || o.has('R'), force, o.has('i') && !force, o.has('d'), o.has('v'))
	}
	return 0
}

func removeTree(c *call, name, path string, deep, force, ask, emptyDir, verbose bool) {
	fi, err := os.Lstat(path)
	if err != nil {
		if !(force && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR))) {
			c.warnErr(name, err)
		}
		return
	}
	if fi.IsDir() && !deep && !emptyDir {
		c.warn("%s: is a directory", name)
		return
	}
	if fi.IsDir() && deep {
		if ask && !c.confirm("descend into directory '%s'? ", name) {
			return
		}
		f, err := os.Open(path)
		if err == nil {
			var names []string
			names, err = f.Readdirnames(-1)
			f.Close()
			for _, n := range names {
				if c.ctx.Err() != nil {
					return
				}
				removeTree(c, name+"/"+n, path+"/"+n, deep, force, ask, emptyDir, verbose)
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.EACCES) {
			c.warnErr(name, err)
		}
	}
	if !force && !ask && fi.Mode()&(os.ModeSymlink|0o200) == 0 && os.Geteuid() != 0 {
		if f, ok := c.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			ask = true
		}
	}
	if ask && !c.confirm("remove '%s'? ", name) {
		return
	}
	if fi.IsDir() {
		err = syscall.Rmdir(path)
	} else {
		err = syscall.Unlink(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.warnErr(name, err)
		return
	}
	if verbose {
		c.print("removed '", name, "'\n")
	}
}

func rmdir(c *call) int {
	o := c.opts("pv", "parents=p", "ignore-fail-on-non-empty=i")
	c.want(1, -1)
	for _, name := range c.args {
		for {
			if err := syscall.Rmdir(c.path(name)); err != nil {
				if !(o.has('i') && errors.Is(err, syscall.ENOTEMPTY)) {
					c.warnErr("'"+name+"'", err)
				}
				break
			}
			if name = filepath.Dir(strings.TrimRight(name, "/")); !o.has('p') || name == "." || name == "/" {
				break
			}
		}
	}
	return 0
}

func mkdir(c *call) int {
	o := c.opts("m:pv", "mode=m", "parents=p", "verbose=v")
	c.want(1, -1)
	for _, name := range c.args {
		path := c.path(name)
		if o.has('p') {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o777); err != nil {
				c.warnErr("can't create directory '"+name+"'", err)
				continue
			}
		}
		err := os.Mkdir(path, 0o777)
		if err != nil && o.has('p') && errors.Is(err, os.ErrExist) {
			if fi, serr := os.Stat(path); serr == nil && fi.IsDir() {
				err = nil // another made it meanwhile
			}
		}
		if spec, ok := o.last('m'); ok && err == nil {
			var mode uint32
			if mode, err = changeMode(spec, 0o777, true, 0); err != nil {
				c.misuse("%v", err)
			}
			err = syscall.Chmod(path, mode)
		}
		if err != nil {
			c.warnErr("can't create directory '"+name+"'", err)
		} else if o.has('v') {
			c.print("created directory: '", name, "'\n")
		}
	}
	return 0
}

func mkfifo(c *call) int {
	o := c.opts("m:", "mode=m")
	c.want(1, -1)
	for _, name := range c.args {
		err := syscall.Mkfifo(c.path(name), 0o666)
		if spec, ok := o.last('m'); ok && err == nil {
			var mode uint32
			if mode, err = changeMode(spec, 0o666, false, 0); err == nil {
				err = syscall.Chmod(c.path(name), mode)
			}
		}
		if err != nil {
			c.warnErr(name, err)
		}
	}
	return 0
}

func mktemp(c *call) int {
	o := c.opts("dqtup:", "directory=d", "quiet=q", "dry-run=u", "tmpdir=p")
	c.want(0, 1)
	dir := o.str('p', "")
	template := "tmp.XXXXXX"
	if len(c.args) == 1 {
		template = c.args[0]
	}
	if dir == "" && (len(c.args) == 0 || o.has('t') || o.has('p')) {
		if dir = c.getenv("TMPDIR"); dir == "" {
			dir = "/tmp"
		}
	}
	if dir != "" {
		template = strings.TrimSuffix(dir, "/") + "/" + template
	}
	fixed := strings.TrimRight(template, "X")
	n := len(template) - len(fixed)
	if n < 3 {
		c.die("too few X's in template '%s'", template)
	}
	for range 1000 {
		name := fixed + randomName(n)
		var err error
		switch {
		case o.has('u'):
			_, err = os.Lstat(c.path(name))
			if err == nil {
				continue
			}
			err = nil
		case o.has('d'):
			err = os.Mkdir(c.path(name), 0o700)
		default:
			var f *os.File
			if f, err = os.OpenFile(c.path(name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
				f.Close()
			}
		}
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			if !o.has('q') {
				c.warnErr(template, err)
			}
			return 1
		}
		c.print(name, "\n")
		return 0
	}
	c.die("%s: every name is taken", template)
	return 1
}

func touch(c *call) int {
	o := c.opts("cd:t:r:amh", "no-create=c", "date=d", "reference=r")
	c.want(1, -1)
	at, mt := nowSpec(), nowSpec()
	if ref, ok := o.last('r'); ok {
		fi, err := os.Stat(c.path(ref))
		if err != nil {
			c.warnErr(ref, err)
			return 1
		}
		st := statOf(fi)
		at, mt = st.Atim, st.Mtim
	}
	for _, f := range []byte("dt") {
		if s, ok := o.last(f); ok {
			t, err := parseDate(s, c.location())
			if err != nil {
				c.die("%v", err)
			}
			at = syscall.NsecToTimespec(t.UnixNano())
			mt = at
		}
	}
	for _, name := range c.args {
		path := c.path(name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && !o.has('h') {
			if o.has('c') {
				continue
			}
			f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
			if err != nil {
				c.warnErr(name, err)
				continue
			}
			f.Close()
		}
		if err := setTimes(path, at, mt, o.has('a') && !o.has('m'), o.has('m') && !o.has('a'), o.has('h')); err != nil {
			c.warnErr(name, err)
		}
	}
	return 0
}

func ln(c *call) int {
	o := c.opts("sfnTvb", "symbolic=s", "force=f", "no-dereference=n", "no-target-directory=T", "verbose=v")
	c.want(1, -1)
	targets, dest := c.args, "."
	if len(targets) > 1 {
		targets, dest = c.args[:len(c.args)-1], c.args[len(c.args)-1]
	}
	fi, err := os.Stat(c.path(dest))
	isDir := err == nil && fi.IsDir()
	if lfi, lerr := os.Lstat(c.path(dest)); lerr == nil && o.has('n') && lfi.Mode()&os.ModeSymlink != 0 {
		isDir = false
	}
	if o.has('T') {
		isDir = false
	}
	if len(targets) > 1 && !isDir {
		c.die("'%s': not a directory", dest)
	}
	for _, target := range targets {
		name := dest
		if isDir {
			name = filepath.Join(dest, filepath.Base(target))
		}
		path := c.path(name)
		if o.has('f') {
			if a, err := os.Lstat(path); err == nil {
				if b, err := os.Lstat(c.path(target)); err == nil && !o.has('s') && os.SameFile(a, b) {
					continue // removing it would lose the file
				}
				if err := syscall.Unlink(path); err != nil {
					c.warnErr(name, err)
					continue
				}
			}
		}
		if o.has('s') {
			err = os.Symlink(target, path)
		} else {
			err = os.Link(c.path(target), path)
		}
		if err != nil {
			c.warnErr(name, err)
		} else if o.has('v') {
			c.printf("'%s' -> '%s'\n", name, target)
		}
	}
	return 0
}

func readlink(c *call) int {
	o := c.opts("fnevmqsz", "canonicalize=f", "no-newline=n")
	c.want(1, -1)
	for i, name := range c.args {
		var to string
		var err error
		if c.name == "realpath" || o.has('f') || o.has('e') || o.has('m') {
			to, err = resolve(c.path(name), c.name == "readlink" && !o.has('e'))
		} else {
			to, err = os.Readlink(c.path(name))
		}
		if err != nil {
			c.code = 1
			if c.name == "realpath" || o.has('v') {
				c.warnErr(name, err)
			}
			continue
		}
		c.print(to)
		if !o.has('n') || i < len(c.args)-1 {
			c.print("\n")
		}
	}
	return 0
}

// resolve is path without symbolic links; the last part may be missing.
func resolve(path string, missing bool) (string, error) {
	to, err := filepath.EvalSymlinks(path)
	if err == nil || !missing || !errors.Is(err, os.ErrNotExist) {
		return to, err
	}
	path = filepath.Clean(path)
	if l, lerr := os.Readlink(path); lerr == nil {
		if !filepath.IsAbs(l) {
			l = filepath.Dir(path) + "/" + l
		}
		return resolve(l, missing)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}
