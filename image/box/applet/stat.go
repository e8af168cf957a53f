package applet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func statApplet(c *call) int {
	o := c.opts("Lc:tf", "dereference=L", "format=c", "terse=t", "file-system=f")
	c.want(1, -1)
	for _, name := range c.args {
		if o.has('f') {
			statFS(c, name, o)
			continue
		}
		stat := os.Lstat
		if o.has('L') {
			stat = os.Stat
		}
		fi, err := stat(c.path(name))
		if err != nil {
			c.warnErr("can't stat '"+name+"'", err)
			continue
		}
		format, ok := o.last('c')
		if !ok {
			format = "  File: %N\n  Size: %-10s\tBlocks: %-10b IO Block: %-6o %F\nDevice: %Dh/%dd\tInode: %-10i  Links: %h"
			if fi.Mode()&os.ModeDevice != 0 {
				format += "     Device type: %t,%T"
			}
			format += "\nAccess: (%04a/%A)  Uid: (%5u/%8U)   Gid: (%5g/%8G)\nAccess: %x\nModify: %y\nChange: %z"
		}
		if o.has('t') {
			format = "%n %s %b %f %u %g %D %i %h %t %T %X %Y %Z %o"
		}
		c.print(expandStat(format, func(f byte) string { return statField(c, f, name, fi) }), "\n")
	}
	return 0
}

// expandStat reads %[flags][width]x.
func expandStat(format string, field func(byte) string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		n := span(format[i+1:], 8, "-0123456789")
		if i+1+n >= len(format) {
			b.WriteString(format[i:])
			break
		}
		width, f := format[i+1:i+1+n], format[i+1+n]
		i += n + 1
		if f == '%' {
			b.WriteByte('%')
			continue
		}
		s := field(f)
		if strings.HasPrefix(width, "0") {
			w, _ := strconv.Atoi(width)
			b.WriteString(strings.Repeat("0", max(0, w-len(s))) + s)
			continue
		}
		w, _ := strconv.Atoi(width)
		fmt.Fprintf(&b, "%*s", w, s)
	}
	return b.String()
}

func statField(c *call, f byte, name string, fi os.FileInfo) string {
	st := statOf(fi)
	hex := func(n uint64) string { return strconv.FormatUint(n, 16) }
	dec := func(n uint64) string { return strconv.FormatUint(n, 10) }
	stamp := func(ts syscall.Timespec) time.Time { return time.Unix(int64(ts.Sec), int64(ts.Nsec)).In(c.location()) }
	const long = "2006-01-02 15:04:05.000000000 -0700"
	switch f {
	case 'n':
		return name
	case 'N':
		if to, err := os.Readlink(c.path(name)); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			return "'" + name + "' -> '" + to + "'"
		}
		return name
	case 's':
		return strconv.FormatInt(fi.Size(), 10)
	case 'b':
		return strconv.FormatInt(int64(st.Blocks), 10)
	case 'B':
		return "512"
	case 'o':
		return strconv.FormatInt(int64(st.Blksize), 10)
	case 'a':
		return strconv.FormatUint(uint64(st.Mode&0o7777), 8)
	case 'A':
		return modeString(st.Mode)
	case 'f':
		return hex(uint64(st.Mode))
	case 'F':
		return kindOf(fi)
	case 'u':
		return digits(st.Uid)
	case 'U':
		return userName(st.Uid)
	case 'g':
		return digits(st.Gid)
	case 'G':
		return groupName(st.Gid)
	case 'h':
		return dec(uint64(st.Nlink))
	case 'i':
		return dec(uint64(st.Ino))
	case 'd':
		return dec(uint64(st.Dev))
	case 'D':
		return hex(uint64(st.Dev))
	case 't':
		return hex(uint64(unix.Major(uint64(st.Rdev))))
	case 'T':
		return hex(uint64(unix.Minor(uint64(st.Rdev))))
	case 'x':
		return stamp(st.Atim).Format(long)
	case 'X':
		return strconv.FormatInt(int64(st.Atim.Sec), 10)
	case 'y':
		return stamp(st.Mtim).Format(long)
	case 'Y':
		return strconv.FormatInt(int64(st.Mtim.Sec), 10)
	case 'z':
		return stamp(st.Ctim).Format(long)
	case 'Z':
		return strconv.FormatInt(int64(st.Ctim.Sec), 10)
	case 'm':
		p, err := filepath.Abs(c.path(name))
		if err != nil {
			return "?"
		}
		return mountOf(c.mounts(), p).Mountpoint
	}
	return "?"
}

func kindOf(fi os.FileInfo) string {
	switch statOf(fi).Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		return "directory"
	case syscall.S_IFLNK:
		return "symbolic link"
	case syscall.S_IFCHR:
		return "character special file"
	case syscall.S_IFBLK:
		return "block special file"
	case syscall.S_IFIFO:
		return "fifo"
	case syscall.S_IFSOCK:
		return "socket"
	}
	if fi.Size() == 0 {
		return "regular empty file"
	}
	return "regular file"
}

func statFS(c *call, name string, o opts) {
	var st unix.Statfs_t
	if err := unix.Statfs(c.path(name), &st); err != nil {
		c.warnErr("can't read file system information for '"+name+"'", err)
		return
	}
	format := o.str('c', "  File: \"%n\"\n    Type: %T\nBlock size: %s\nBlocks: Total: %b Free: %f Available: %a\nInodes: Total: %c Free: %d")
	c.print(expandStat(format, func(f byte) string {
		switch f {
		case 'n':
			return name
		case 'T':
			return mountOf(c.mounts(), c.path(name)).FSType
		case 't':
			return strconv.FormatUint(uint64(uint32(st.Type)), 16)
		case 's', 'S':
			return fmt.Sprint(st.Bsize)
		case 'b':
			return fmt.Sprint(st.Blocks)
		case 'f':
			return fmt.Sprint(st.Bfree)
		case 'a':
			return fmt.Sprint(st.Bavail)
		case 'c':
			return fmt.Sprint(st.Files)
		case 'd':
			return fmt.Sprint(st.Ffree)
		case 'l':
			return fmt.Sprint(st.Namelen)
		}
		return "?"
	}), "\n")
}

func basename(c *call) int {
	o := c.opts("as:", "multiple=a", "suffix=s")
	c.want(1, -1)
	names, suffix := c.args, o.str('s', "")
	if !o.has('a') && !o.has('s') {
		c.want(1, 2)
		if len(names) == 2 {
			suffix = names[1]
		}
		names = names[:1]
	}
	for _, name := range names {
		b := filepath.Base(name)
		if name == "" {
			b = ""
		}
		if b != suffix {
			b = strings.TrimSuffix(b, suffix)
		}
		c.print(b, "\n")
	}
	return 0
}

func dirname(c *call) int {
	c.opts("")
	c.want(1, -1)
	for _, name := range c.args {
		trimmed := strings.TrimRight(name, "/")
		i := strings.LastIndexByte(trimmed, '/')
		switch {
		case trimmed == "" && name != "":
			c.print("/\n")
		case i < 0:
			c.print(".\n")
		default:
			d := strings.TrimRight(trimmed[:i], "/")
			if d == "" {
				d = "/"
			}
			c.print(d, "\n")
		}
	}
	return 0
}

func pwd(c *call) int {
	o := c.opts("LP")
	dir := c.Dir
	if p := c.getenv("PWD"); !o.has('P') && filepath.IsAbs(p) {
		a, ea := os.Stat(p)
		b, eb := os.Stat(dir)
		if ea == nil && eb == nil && os.SameFile(a, b) {
			dir = p
		}
	}
	c.print(dir, "\n")
	return 0
}
