package applet

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

type lister struct {
	*call
	o     opts
	names nameCache
	width int
	blank bool // something was printed: a blank line goes before a title
}

type listed struct {
	name string
	fi   os.FileInfo
	path string
}

func ls(c *call) int {
	o := c.opts("la1RhdnirtSAFpLHCxcugosQN", "all=a", "almost-all=A", "human-readable=h", "recursive=R", "directory=d", "reverse=r", "inode=i", "color=N", "classify=F")
	l := &lister{call: c, o: o}
	if f, ok := c.Stdio.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !o.has('1') || o.has('C') {
		l.width = 80
		if f != nil {
			if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
				l.width = w
			}
		}
	}
	names := c.args
	if len(names) == 0 {
		names = []string{"."}
	}
	var files, dirs []listed
	for _, name := range names {
		e, err := l.stat(name, c.path(name), o.has('L') || o.has('H') || !l.long() && !o.has('F') && !o.has('d'))
		if err != nil {
			c.warnErr(name, err)
			c.code = 1
			continue
		}
		if e.fi.IsDir() && !o.has('d') {
			dirs = append(dirs, e)
		} else {
			files = append(files, e)
		}
	}
	l.sort(files)
	l.sort(dirs)
	l.show(files)
	l.blank = len(files) > 0
	for _, d := range dirs {
		l.dir(d, len(names) > 1 || o.has('R'))
	}
	return 0
}

func (l *lister) long() bool { return l.o.has('l') || l.o.has('n') || l.o.has('g') || l.o.has('o') }

func (l *lister) stat(name, path string, follow bool) (listed, error) {
	fi, err := os.Lstat(path)
	if err == nil && follow && fi.Mode()&os.ModeSymlink != 0 {
		if t, terr := os.Stat(path); terr == nil {
			fi = t
		}
	}
	return listed{name, fi, path}, err
}

func (l *lister) dir(d listed, title bool) {
	if l.gone() {
		return
	}
	f, err := os.Open(d.path)
	if err != nil {
		l.warnErr(d.name, err)
		return
	}
	entries, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		l.warnErr(d.name, err)
	}
	if title {
		if l.blank {
			l.print("\n")
		}
		l.print(d.name, ":\n")
	}
	l.blank = true
	if l.o.has('a') {
		entries = append(entries, ".", "..")
	}
	var list []listed
	for _, name := range entries {
		if name[0] == '.' && !l.o.has('a') && !l.o.has('A') {
			continue
		}
		e, err := l.stat(name, d.path+"/"+name, l.o.has('L'))
		if err != nil {
			if !os.IsNotExist(err) { // gone since: never there
				l.warnErr(d.name+"/"+name, err)
			}
			continue
		}
		list = append(list, e)
	}
	l.sort(list)
	if l.long() || l.o.has('s') {
		var blocks int64
		for _, e := range list {
			blocks += int64(statOf(e.fi).Blocks)
		}
		if l.o.has('h') {
			l.print("total ", human(uint64(blocks)*512), "\n")
		} else {
			l.printf("total %d\n", blocks/2)
		}
	}
	l.show(list)
	if !l.o.has('R') {
		return
	}
	for _, e := range list {
		if e.fi.IsDir() && e.name != "." && e.name != ".." {
			e.name = filepath.Join(d.name, e.name)
			if strings.HasPrefix(d.name, "./") || d.name == "." {
				e.name = "./" + e.name
			}
			l.dir(e, true)
		}
	}
}

func (l *lister) time(fi os.FileInfo) time.Time {
	st := statOf(fi)
	switch l.o.latest("cu") {
	case 'c':
		return time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec))
	case 'u':
		return time.Unix(int64(st.Atim.Sec), int64(st.Atim.Nsec))
	}
	return fi.ModTime()
}

func (l *lister) sort(list []listed) {
	less := func(a, b listed) bool { return a.name < b.name }
	switch l.o.latest("tS") {
	case 't':
		less = func(a, b listed) bool {
			at, bt := l.time(a.fi), l.time(b.fi)
			if at.Equal(bt) {
				return a.name < b.name
			}
			return at.After(bt)
		}
	case 'S':
		less = func(a, b listed) bool {
			if a.fi.Size() == b.fi.Size() {
				return a.name < b.name
			}
			return a.fi.Size() > b.fi.Size()
		}
	}
	sort.SliceStable(list, func(i, j int) bool {
		if l.o.has('r') {
			i, j = j, i
		}
		return less(list[i], list[j])
	})
}

func (l *lister) show(list []listed) {
	switch {
	case l.long():
		l.showLong(list)
	case l.width > 0:
		l.columns(list)
	default:
		for _, e := range list {
			l.prefix(e)
			l.print(l.label(e), "\n")
			if l.gone() {
				return
			}
		}
	}
}

func (l *lister) prefix(e listed) {
	if l.o.has('i') {
		l.printf("%7d ", statOf(e.fi).Ino)
	}
	if l.o.has('s') {
		l.printf("%6d ", statOf(e.fi).Blocks/2)
	}
}

func (l *lister) label(e listed) string {
	name := e.name
	if l.width > 0 { // a terminal: what is in a name must not steer it
		name = visible(name, true, true)
	}
	m := e.fi.Mode()
	switch {
	case m.IsDir() && (l.o.has('F') || l.o.has('p')):
		name += "/"
	case !l.o.has('F'):
	case m&os.ModeSymlink != 0:
		name += "@"
	case m&os.ModeNamedPipe != 0:
		name += "|"
	case m&os.ModeSocket != 0:
		name += "="
	case m&0o111 != 0:
		name += "*"
	}
	return name
}

func (l *lister) columns(list []listed) {
	widest := 0
	for _, e := range list {
		widest = max(widest, len(l.label(e)))
	}
	if l.o.has('i') || l.o.has('s') {
		widest += 8
	}
	cols := max(1, l.width/(widest+2))
	rows := (len(list) + cols - 1) / cols
	for r := 0; r < rows; r++ {
		for i := r; i < len(list); i += rows {
			l.prefix(list[i])
			s := l.label(list[i])
			if i+rows < len(list) {
				s += strings.Repeat(" ", widest+2-len(s))
			}
			l.print(s)
		}
		l.print("\n")
	}
}

func (l *lister) showLong(list []listed) {
	now := time.Now()
	for _, e := range list {
		st := statOf(e.fi)
		l.prefix(e)
		l.printf("%s %4d ", modeString(st.Mode), st.Nlink)
		owner, group := l.names.user, l.names.group
		if l.o.has('n') {
			owner, group = digits, digits
		}
		if !l.o.has('g') {
			l.printf("%-8s ", owner(st.Uid))
		}
		if !l.o.has('o') {
			l.printf("%-8s ", group(st.Gid))
		}
		switch f := st.Mode & syscall.S_IFMT; {
		case f == syscall.S_IFCHR || f == syscall.S_IFBLK:
			l.printf("%4d, %3d ", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
		case l.o.has('h'):
			l.printf("%9s ", human(uint64(st.Size)))
		default:
			l.printf("%9d ", st.Size)
		}
		t := l.time(e.fi)
		form := "Jan _2 15:04"
		if age := now.Sub(t); age > 182*24*time.Hour || age < -time.Minute*15 {
			form = "Jan _2  2006"
		}
		l.print(t.Format(form), " ", l.label(e))
		if e.fi.Mode()&os.ModeSymlink != 0 {
			if to, err := os.Readlink(e.path); err == nil {
				l.print(" -> ", to)
			}
		}
		l.print("\n")
		if l.gone() {
			return
		}
	}
}
