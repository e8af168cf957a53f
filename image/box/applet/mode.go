package applet

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func digits(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

func randomName(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

func nowSpec() syscall.Timespec { return syscall.NsecToTimespec(time.Now().UnixNano()) }

// setTimes keeps the time that keepA or keepM names.
func setTimes(path string, at, mt syscall.Timespec, keepM, keepA, link bool) error {
	ts := []unix.Timespec{unix.NsecToTimespec(at.Nano()), unix.NsecToTimespec(mt.Nano())}
	if keepA {
		ts[0] = unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	if keepM {
		ts[1] = unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	flags := 0
	if link {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, flags)
}

// changeMode applies a mode of chmod's language to old.
func changeMode(spec string, old uint32, isDir bool, umask uint32) (uint32, error) {
	if spec == "" {
		return 0, fmt.Errorf("invalid mode '%s'", spec)
	}
	if n, err := strconv.ParseUint(spec, 8, 32); err == nil {
		if n > 0o7777 {
			return 0, fmt.Errorf("invalid mode '%s'", spec)
		}
		return uint32(n), nil
	}
	mode := old
	for _, clause := range strings.Split(spec, ",") {
		next, err := changeClause(clause, mode, isDir, umask)
		if err != nil {
			return 0, fmt.Errorf("invalid mode '%s'", spec)
		}
		mode = next
	}
	return mode, nil
}

func changeClause(s string, mode uint32, isDir bool, umask uint32) (uint32, error) {
	var who uint32
	i := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case 'u':
			who |= 0o4700
		case 'g':
			who |= 0o2070
		case 'o':
			who |= 0o1007
		case 'a':
			who |= 0o7777
		default:
			goto ops
		}
	}
ops:
	mask := who
	if who == 0 {
		who, mask = 0o7777, 0o7777&^umask
	}
	if i == len(s) {
		return 0, syscall.EINVAL
	}
	for i < len(s) {
		op := s[i]
		if op != '+' && op != '-' && op != '=' {
			return 0, syscall.EINVAL
		}
		i++
		var bits uint32
		for ; i < len(s) && s[i] != '+' && s[i] != '-' && s[i] != '='; i++ {
			b, ok := permBits(s[i], mode, isDir)
			if !ok {
				return 0, syscall.EINVAL
			}
			bits |= b
		}
		bits &= mask
		switch op {
		case '+':
			mode |= bits
		case '-':
			mode &^= bits
		case '=':
			keep := uint32(0)
			if isDir {
				keep = mode & 0o6000
			}
			mode = mode&^who | bits | keep
		}
	}
	return mode, nil
}

func permBits(ch byte, mode uint32, isDir bool) (uint32, bool) {
	spread := func(n uint32) uint32 { return n<<6 | n<<3 | n }
	switch ch {
	case 'r':
		return 0o444, true
	case 'w':
		return 0o222, true
	case 'x':
		return 0o111, true
	case 'X':
		if isDir || mode&0o111 != 0 {
			return 0o111, true
		}
		return 0, true
	case 's':
		return 0o6000, true
	case 't':
		return 0o1000, true
	case 'u':
		return spread(mode >> 6 & 7), true
	case 'g':
		return spread(mode >> 3 & 7), true
	case 'o':
		return spread(mode & 7), true
	}
	return 0, false
}

func currentUmask() uint32 {
	old := syscall.Umask(0)
	syscall.Umask(old)
	return uint32(old)
}

func chmod(c *call) int {
	// -x and the like are modes, not options.
	var spec string
	for i, a := range c.args {
		if len(a) > 1 && a[0] == '-' && strings.Trim(a[1:], "rwxXst") == "" {
			spec = a
			c.args = append(append([]string{}, c.args[:i]...), c.args[i+1:]...)
			break
		}
	}
	o := c.opts("Rvcf", "recursive=R", "verbose=v")
	if spec == "" {
		c.want(2, -1)
		spec, c.args = c.args[0], c.args[1:]
	}
	c.want(1, -1)
	umask := currentUmask()
	if _, err := changeMode(spec, 0, false, umask); err != nil {
		c.die("%v", err)
	}
	c.each(o.has('R'), func(name, path string, fi os.FileInfo) error {
		if fi.Mode()&os.ModeSymlink != 0 {
			if o.has('R') {
				return nil
			}
			var err error
			if fi, err = os.Stat(path); err != nil {
				return err
			}
		}
		old := statOf(fi).Mode & 0o7777
		mode, err := changeMode(spec, old, fi.IsDir(), umask)
		if err != nil {
			return err
		}
		if mode != old {
			if err := syscall.Chmod(path, mode); err != nil {
				return err
			}
		}
		if o.has('v') || o.has('c') && mode != old {
			c.printf("mode of '%s' changed to %04o (%s)\n", name, mode, modeString(mode)[1:])
		}
		return nil
	})
	return 0
}

func chown(c *call) int {
	o := c.opts("RhvcfHLP", "recursive=R", "no-dereference=h", "verbose=v")
	c.want(2, -1)
	uid, gid, err := owner(c.args[0], c.name == "chgrp")
	if err != nil {
		c.die("%v", err)
	}
	c.args = c.args[1:]
	c.each(o.has('R'), func(_, path string, fi os.FileInfo) error {
		if o.has('h') || o.has('R') && fi.Mode()&os.ModeSymlink != 0 {
			return os.Lchown(path, uid, gid)
		}
		return os.Chown(path, uid, gid)
	})
	return 0
}

// owner reads USER[:GROUP], or GROUP alone; -1 is no change.
func owner(spec string, groupOnly bool) (uid, gid int, err error) {
	uid, gid = -1, -1
	u, g, hasGroup := strings.Cut(spec, ":")
	if !hasGroup && !groupOnly {
		if _, err := userID(spec); err != nil {
			u, g, _ = strings.Cut(spec, ".")
		}
	}
	if groupOnly {
		u, g = "", spec
	}
	if u != "" {
		if uid, err = userID(u); err != nil {
			return 0, 0, fmt.Errorf("unknown user %s", u)
		}
	}
	if g != "" {
		if gid, err = groupID(g); err != nil {
			return 0, 0, fmt.Errorf("unknown group %s", g)
		}
	}
	return uid, gid, nil
}

// each calls fn for the operands and, if deep, all below them.
func (c *call) each(deep bool, fn func(name, path string, fi os.FileInfo) error) {
	var walk func(name, path string)
	walk = func(name, path string) {
		fi, err := os.Lstat(path)
		if err == nil {
			err = fn(name, path, fi)
		}
		if err != nil {
			c.warnErr(name, err)
		}
		if fi == nil || !deep || !fi.IsDir() || c.ctx.Err() != nil {
			return
		}
		f, err := os.Open(path)
		if err != nil {
			c.warnErr(name, err)
			return
		}
		names, err := f.Readdirnames(-1)
		f.Close()
		if err != nil {
			c.warnErr(name, err)
		}
		for _, n := range names {
			walk(filepath.Join(name, n), path+"/"+n)
		}
	}
	for _, name := range c.args {
		walk(name, c.path(name))
	}
}
