package applet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tester evaluates test's expressions, by POSIX's rules for their number of
// arguments first.
type tester struct {
	*call
	rest []string
}

func test(c *call) int {
	args := c.args
	if c.name == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			c.misuse("missing ]")
		}
		args = args[:len(args)-1]
	}
	t := &tester{call: c}
	if t.eval(args) {
		return 0
	}
	return 1
}

func (t *tester) bad(format string, a ...any) {
	t.warn(format, a...)
	t.code = 0
	panic(exits(2))
}

func (t *tester) eval(args []string) bool {
	switch len(args) {
	case 0:
		return false
	case 1:
		return args[0] != ""
	case 2:
		if args[0] == "!" {
			return args[1] == ""
		}
		return t.unary(args[0], args[1])
	case 3:
		if isBinary(args[1]) {
			return t.binary(args[0], args[1], args[2])
		}
		if args[0] == "!" {
			return !t.eval(args[1:])
		}
		if args[0] == "(" && args[2] == ")" {
			return args[1] != ""
		}
	case 4:
		if args[0] == "!" {
			return !t.eval(args[1:])
		}
	}
	t.rest = args
	v := t.or()
	if len(t.rest) > 0 {
		t.bad("%s: unexpected operator", t.rest[0])
	}
	return v
}

func (t *tester) take() string {
	if len(t.rest) == 0 {
		t.bad("argument expected")
	}
	s := t.rest[0]
	t.rest = t.rest[1:]
	return s
}

func (t *tester) or() bool {
	v := t.and()
	for len(t.rest) > 0 && t.rest[0] == "-o" {
		t.take()
		r := t.and()
		v = v || r
	}
	return v
}

func (t *tester) and() bool {
	v := t.not()
	for len(t.rest) > 0 && t.rest[0] == "-a" {
		t.take()
		r := t.not()
		v = v && r
	}
	return v
}

func (t *tester) not() bool {
	s := t.take()
	switch {
	case s == "!" && len(t.rest) > 0:
		return !t.not()
	case len(t.rest) > 1 && isBinary(t.rest[0]):
		op := t.take()
		return t.binary(s, op, t.take())
	case s == "(":
		v := t.or()
		if t.take() != ")" {
			t.bad("missing )")
		}
		return v
	case len(s) == 2 && s[0] == '-' && len(t.rest) > 0:
		return t.unary(s, t.take())
	}
	return s != ""
}

func isBinary(op string) bool {
	switch op {
	case "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef", "-a", "-o":
		return true
	}
	return false
}

func (t *tester) int(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		t.bad("%s: bad number", s)
	}
	return n
}

func (t *tester) binary(a, op, b string) bool {
	switch op {
	case "=", "==":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case ">":
		return a > b
	case "-a":
		return a != "" && b != ""
	case "-o":
		return a != "" || b != ""
	case "-nt", "-ot", "-ef":
		x, ex := os.Stat(t.path(a))
		y, ey := os.Stat(t.path(b))
		switch op {
		case "-nt":
			return ex == nil && (ey != nil || x.ModTime().After(y.ModTime()))
		case "-ot":
			return ey == nil && (ex != nil || x.ModTime().Before(y.ModTime()))
		}
		return ex == nil && ey == nil && os.SameFile(x, y)
	}
	x, y := t.int(a), t.int(b)
	switch op {
	case "-eq":
		return x == y
	case "-ne":
		return x != y
	case "-lt":
		return x < y
	case "-le":
		return x <= y
	case "-gt":
		return x > y
	}
	return x >= y
}

func (t *tester) unary(op, s string) bool {
	switch op {
	case "-n":
		return s != ""
	case "-z":
		return s == ""
	case "-t":
		fd := t.int(s)
		v := []any{t.In, t.Stdio.Out, t.Err}
		return fd >= 0 && fd < 3 && isTerminal(v[fd])
	case "-r":
		return unix.Access(t.path(s), unix.R_OK) == nil
	case "-w":
		return unix.Access(t.path(s), unix.W_OK) == nil
	case "-x":
		return unix.Access(t.path(s), unix.X_OK) == nil
	}
	stat := os.Stat
	if op == "-h" || op == "-L" {
		stat = os.Lstat
	}
	fi, err := stat(t.path(s))
	var m uint32
	if err == nil {
		m = statOf(fi).Mode
	}
	kind := m & syscall.S_IFMT
	switch op {
	case "-e":
		return err == nil
	case "-f":
		return kind == syscall.S_IFREG
	case "-d":
		return kind == syscall.S_IFDIR
	case "-h", "-L":
		return kind == syscall.S_IFLNK
	case "-p":
		return kind == syscall.S_IFIFO
	case "-S":
		return kind == syscall.S_IFSOCK
	case "-b":
		return kind == syscall.S_IFBLK
	case "-c":
		return kind == syscall.S_IFCHR
	case "-s":
		return err == nil && fi.Size() > 0
	case "-u":
		return m&0o4000 != 0
	case "-g":
		return m&0o2000 != 0
	case "-k":
		return m&0o1000 != 0
	case "-O":
		return err == nil && int(statOf(fi).Uid) == os.Geteuid()
	case "-G":
		return err == nil && int(statOf(fi).Gid) == os.Getegid()
	}
	t.bad("%s: unknown operand", op)
	return false
}

// expr evaluates POSIX's expr.
type expression struct {
	*call
	rest []string
}

func expr(c *call) int {
	if len(c.args) == 0 {
		c.warn("missing operand")
		panic(exits(2))
	}
	e := &expression{call: c, rest: c.args}
	v := e.level(0)
	if len(e.rest) > 0 {
		e.bad("syntax error at '%s'", e.rest[0])
	}
	c.print(v, "\n")
	if v == "" || v == "0" {
		return 1
	}
	return 0
}

func (e *expression) bad(format string, a ...any) {
	e.warn(format, a...)
	e.code = 0
	panic(exits(2))
}

func (e *expression) int(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		e.bad("non-numeric argument")
	}
	return n
}

func levelOf(op string) int {
	switch op {
	case "|":
		return 0
	case "&":
		return 1
	case "=", "==", "!=", "<", "<=", ">", ">=":
		return 2
	case "+", "-":
		return 3
	case "*", "/", "%":
		return 4
	case ":":
		return 5
	}
	return -1
}

func (e *expression) level(n int) string {
	if n == 6 {
		return e.primary()
	}
	v := e.level(n + 1)
	for len(e.rest) > 0 && levelOf(e.rest[0]) == n {
		op := e.rest[0]
		e.rest = e.rest[1:]
		v = e.apply(v, op, e.level(n+1))
	}
	return v
}

func (e *expression) primary() string {
	if len(e.rest) == 0 {
		e.bad("syntax error")
	}
	s := e.rest[0]
	e.rest = e.rest[1:]
	switch {
	case s == "(":
		v := e.level(0)
		if len(e.rest) == 0 || e.rest[0] != ")" {
			e.bad("missing )")
		}
		e.rest = e.rest[1:]
		return v
	case s == "length" && len(e.rest) > 0:
		return strconv.Itoa(len([]rune(e.primary())))
	case s == "match" && len(e.rest) > 1:
		a := e.primary()
		return e.apply(a, ":", e.primary())
	case s == "substr" && len(e.rest) > 2:
		r := []rune(e.primary())
		at, n := e.int(e.primary()), e.int(e.primary())
		if at < 1 || n < 1 || at > int64(len(r)) {
			return ""
		}
		return string(r[at-1 : min(int64(len(r)), at-1+n)])
	}
	return s
}

func (e *expression) apply(a, op, b string) string {
	zero := func(s string) bool { return s == "" || s == "0" }
	bit := func(v bool) string { return map[bool]string{true: "1", false: "0"}[v] }
	switch op {
	case "|":
		if !zero(a) {
			return a
		}
		if zero(b) {
			return "0"
		}
		return b
	case "&":
		if zero(a) || zero(b) {
			return "0"
		}
		return a
	case ":":
		return e.match(a, b)
	case "+", "-", "*", "/", "%":
		return e.arithmetic(e.int(a), op, e.int(b))
	}
	n := strings.Compare(a, b)
	x, ex := strconv.ParseInt(a, 10, 64)
	y, ey := strconv.ParseInt(b, 10, 64)
	if ex == nil && ey == nil {
		n = cmpFloat(float64(x), float64(y))
		if x == y {
			n = 0
		}
	}
	switch op {
	case "=", "==":
		return bit(n == 0)
	case "!=":
		return bit(n != 0)
	case "<":
		return bit(n < 0)
	case "<=":
		return bit(n <= 0)
	case ">":
		return bit(n > 0)
	}
	return bit(n >= 0)
}

func (e *expression) arithmetic(x int64, op string, y int64) string {
	switch op {
	case "+":
		x += y
	case "-":
		x -= y
	case "*":
		x *= y
	default:
		if y == 0 {
			e.bad("division by zero")
		}
		if op == "/" {
			x /= y
		} else {
			x %= y
		}
	}
	return strconv.FormatInt(x, 10)
}

func (e *expression) match(s, pattern string) string {
	re, err := compile("^"+strings.TrimPrefix(pattern, "^"), false, false, false)
	if err != nil {
		e.bad("%v", err)
	}
	m := re.FindStringSubmatch(s)
	switch {
	case len(m) > 1:
		return m[1]
	case re.NumSubexp() > 0:
		return ""
	case m == nil:
		return "0"
	}
	return fmt.Sprint(len([]rune(m[0])))
}
