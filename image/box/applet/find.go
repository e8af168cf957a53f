package applet

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// findTest is one node of find's expression.
type findTest func(f *found) bool

type found struct {
	name, path string
	fi         os.FileInfo
	depth      int
	prune      bool
}

type finder struct {
	*call
	rest     []string
	min, max int
	depth    bool
	follow   bool
	xdev     bool
	acts     bool // the expression prints or does something itself
	quit     bool
	batches  []func()
	start    time.Time
}

func findFiles(c *call) int {
	f := &finder{call: c, max: 1 << 30, start: time.Now()}
	args := c.args
	for len(args) > 0 && (args[0] == "-H" || args[0] == "-L" || args[0] == "-P") {
		f.follow = args[0] == "-L"
		args = args[1:]
	}
	var roots []string
	for len(args) > 0 && !(len(args[0]) > 1 && args[0][0] == '-') && args[0] != "!" && args[0] != "(" {
		roots = append(roots, args[0])
		args = args[1:]
	}
	if roots == nil {
		roots = []string{"."}
	}
	f.rest = args
	expr := findTest(func(*found) bool { return true })
	if len(args) > 0 {
		expr = f.or()
		if len(f.rest) > 0 {
			c.die("unexpected '%s'", f.rest[0])
		}
	}
	if !f.acts {
		test := expr
		expr = func(x *found) bool {
			if test(x) {
				c.print(x.name, "\n")
			}
			return true
		}
	}
	for _, r := range roots {
		f.walk(r, c.path(r), 0, 0, expr)
	}
	for _, b := range f.batches {
		b()
	}
	return 0
}

func (f *finder) walk(name, full string, depth int, dev uint64, expr findTest) {
	stat := os.Lstat
	if f.follow {
		stat = os.Stat
	}
	fi, err := stat(full)
	if err != nil && f.follow {
		fi, err = os.Lstat(full)
	}
	if err != nil {
		f.warnErr(name, err)
		return
	}
	x := &found{name: name, path: full, fi: fi, depth: depth}
	here := uint64(statOf(fi).Dev)
	eval := func() {
		if depth >= f.min && !f.quit {
			expr(x)
		}
	}
	if !f.depth {
		eval()
	}
	if fi.IsDir() && !x.prune && depth < f.max && !(f.xdev && depth > 0 && here != dev) {
		d, err := os.Open(full)
		var names []string
		if err == nil {
			names, err = d.Readdirnames(-1)
			d.Close()
		}
		if err != nil {
			f.warnErr(name, err)
		}
		for _, n := range names {
			if f.quit || f.gone() {
				return
			}
			f.walk(strings.TrimSuffix(name, "/")+"/"+n, full+"/"+n, depth+1, here, expr)
		}
	}
	if f.depth {
		eval()
	}
}

func (f *finder) peek() string {
	if len(f.rest) == 0 {
		return ""
	}
	return f.rest[0]
}

func (f *finder) or() findTest {
	left := f.and()
	for f.peek() == "-o" || f.peek() == "-or" {
		f.rest = f.rest[1:]
		a, b := left, f.and()
		left = func(x *found) bool { return a(x) || b(x) }
	}
	return left
}

func (f *finder) and() findTest {
	left := f.not()
	for {
		switch f.peek() {
		case "", "-o", "-or", ")":
			return left
		case "-a", "-and":
			f.rest = f.rest[1:]
		}
		a, b := left, f.not()
		left = func(x *found) bool { return a(x) && b(x) }
	}
}

func (f *finder) not() findTest {
	switch f.peek() {
	case "!", "-not":
		f.rest = f.rest[1:]
		t := f.not()
		return func(x *found) bool { return !t(x) }
	case "(":
		f.rest = f.rest[1:]
		t := f.or()
		if f.peek() != ")" {
			f.die("missing ')'")
		}
		f.rest = f.rest[1:]
		return t
	}
	return f.primary()
}

func (f *finder) value(name string) string {
	if len(f.rest) == 0 {
		f.die("%s needs an argument", name)
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

func (f *finder) primary() findTest {
	if len(f.rest) == 0 {
		f.die("missing expression")
	}
	name := f.rest[0]
	f.rest = f.rest[1:]
	yes := func(*found) bool { return true }
	switch name {
	case "-maxdepth":
		f.max = int(f.number(f.value(name)))
		return yes
	case "-mindepth":
		f.min = int(f.number(f.value(name)))
		return yes
	case "-depth":
		f.depth = true
		return yes
	case "-xdev", "-mount":
		f.xdev = true
		return yes
	case "-follow":
		f.follow = true
		return yes
	case "-true":
		return yes
	case "-false":
		return func(*found) bool { return false }
	case "-name", "-iname", "-path", "-ipath", "-wholename":
		return f.byName(name, f.value(name))
	case "-type":
		return f.byType(f.value(name))
	case "-print", "-print0", "-prune", "-delete", "-quit", "-exec", "-ok":
		f.acts = f.acts || name != "-prune"
		return f.action(name)
	}
	return f.byInode(name)
}

func (f *finder) byName(how, pattern string) findTest {
	fold := strings.HasPrefix(how, "-i")
	whole := strings.HasSuffix(how, "path") || how == "-wholename"
	if fold {
		pattern = strings.ToLower(pattern)
	}
	if _, err := path.Match(pattern, ""); err != nil {
		pattern = strings.ReplaceAll(pattern, "[", `\[`)
	}
	return func(x *found) bool {
		s := filepath.Base(x.name)
		if whole {
			s = x.name
		}
		if fold {
			s = strings.ToLower(s)
		}
		if whole { // here a * takes slashes too
			ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01"))
			return ok
		}
		ok, _ := path.Match(pattern, s)
		return ok
	}
}

func (f *finder) byType(kinds string) findTest {
	var want []uint32
	for _, k := range strings.Split(kinds, ",") {
		m, ok := map[string]uint32{"f": syscall.S_IFREG, "d": syscall.S_IFDIR, "l": syscall.S_IFLNK, "c": syscall.S_IFCHR, "b": syscall.S_IFBLK, "p": syscall.S_IFIFO, "s": syscall.S_IFSOCK}[k]
		if !ok {
			f.die("unknown type '%s'", k)
		}
		want = append(want, m)
	}
	return func(x *found) bool {
		for _, m := range want {
			if statOf(x.fi).Mode&syscall.S_IFMT == m {
				return true
			}
		}
		return false
	}
}

// compared reads +N, -N, N.
func (f *finder) compared(s string, read func(string) int64) func(int64) bool {
	switch {
	case strings.HasPrefix(s, "+"):
		n := read(s[1:])
		return func(v int64) bool { return v > n }
	case strings.HasPrefix(s, "-"):
		n := read(s[1:])
		return func(v int64) bool { return v < n }
	}
	n := read(s)
	return func(v int64) bool { return v == n }
}

func (f *finder) byInode(name string) findTest {
	switch name {
	case "-size":
		s := f.value(name)
		unit := int64(512)
		if strings.TrimRight(s, "cwbkMG") != s {
			unit = map[byte]int64{'c': 1, 'w': 2, 'b': 512, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[s[len(s)-1]]
			s = s[:len(s)-1]
		}
		is := f.compared(s, f.number)
		return func(x *found) bool { return is((x.fi.Size() + unit - 1) / unit) }
	case "-mtime", "-mmin", "-atime", "-amin", "-ctime", "-cmin":
		unit := 24 * time.Hour
		if strings.HasSuffix(name, "min") {
			unit = time.Minute
		}
		is := f.compared(f.value(name), f.number)
		return func(x *found) bool { return is(int64(f.start.Sub(fileTime(x.fi, name[1])) / unit)) }
	case "-newer":
		ref := f.value(name)
		fi, err := os.Stat(f.path(ref))
		if err != nil {
			f.die("%s: %s", ref, reason(err))
		}
		return func(x *found) bool { return x.fi.ModTime().After(fi.ModTime()) }
	case "-empty":
		return func(x *found) bool {
			if x.fi.IsDir() {
				e, err := os.ReadDir(x.path)
				return err == nil && len(e) == 0
			}
			return x.fi.Mode().IsRegular() && x.fi.Size() == 0
		}
	case "-perm":
		return f.byMode(f.value(name))
	case "-user", "-uid":
		id, err := userID(f.value(name))
		if err != nil {
			f.die("unknown user")
		}
		return func(x *found) bool { return int(statOf(x.fi).Uid) == id }
	case "-group", "-gid":
		id, err := groupID(f.value(name))
		if err != nil {
			f.die("unknown group")
		}
		return func(x *found) bool { return int(statOf(x.fi).Gid) == id }
	case "-links", "-inum":
		is := f.compared(f.value(name), f.number)
		return func(x *found) bool {
			if name == "-inum" {
				return is(int64(statOf(x.fi).Ino))
			}
			return is(int64(statOf(x.fi).Nlink))
		}
	}
	f.die("unrecognized: %s", name)
	return nil
}

func fileTime(fi os.FileInfo, which byte) time.Time {
	st := statOf(fi)
	switch which {
	case 'a':
		return time.Unix(int64(st.Atim.Sec), int64(st.Atim.Nsec))
	case 'c':
		return time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec))
	}
	return fi.ModTime()
}

func (f *finder) byMode(s string) findTest {
	how := byte(0)
	if s != "" && (s[0] == '-' || s[0] == '/' || s[0] == '+') {
		how, s = s[0], s[1:]
	}
	mode, err := changeMode(s, 0, false, 0)
	if err != nil {
		f.die("%v", err)
	}
	return func(x *found) bool {
		have := statOf(x.fi).Mode & 0o7777
		switch how {
		case '-':
			return have&mode == mode
		case '/', '+':
			return have&mode != 0 || mode == 0
		}
		return have == mode
	}
}

func (f *finder) action(name string) findTest {
	switch name {
	case "-print":
		return func(x *found) bool { f.print(x.name, "\n"); return true }
	case "-print0":
		return func(x *found) bool { f.print(x.name, "\x00"); return true }
	case "-prune":
		return func(x *found) bool { x.prune = true; return true }
	case "-quit":
		return func(*found) bool { f.quit = true; return true }
	case "-delete":
		f.depth = true
		return func(x *found) bool {
			if x.name == "." {
				return true
			}
			err := os.Remove(x.path)
			if err != nil {
				f.warnErr(x.name, err)
			}
			return err == nil
		}
	}
	var args []string
	for {
		a := f.value(name)
		if a == ";" {
			break
		}
		if a == "+" && len(args) > 0 && args[len(args)-1] == "{}" {
			return f.batch(args[:len(args)-1])
		}
		args = append(args, a)
	}
	if len(args) == 0 {
		f.die("%s needs a command", name)
	}
	return func(x *found) bool {
		cmd := make([]string, len(args))
		for i, a := range args {
			cmd[i] = strings.ReplaceAll(a, "{}", x.name)
		}
		if name == "-ok" && !f.confirm("%s ? ", strings.Join(cmd, " ")) {
			return false
		}
		return f.run(cmd) == 0
	}
}

func (f *finder) batch(base []string) findTest {
	var names []string
	size := 0
	flush := func() {
		if len(names) > 0 {
			if f.run(append(append([]string{}, base...), names...)) != 0 {
				f.code = 1
			}
		}
		names, size = nil, 0
	}
	f.batches = append(f.batches, flush)
	return func(x *found) bool {
		names = append(names, x.name)
		if size += len(x.name) + 9; size > 64<<10 {
			flush()
		}
		return true
	}
}
