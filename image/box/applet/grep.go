package applet

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

type grepper struct {
	*call
	o             opts
	re            []*regexp.Regexp
	titles        bool
	before, after int64
	most          int64
	found         bool
	quiet         bool
}

func grep(c *call) int {
	o := c.opts("EFGivnclqorRhHLwxse:f:m:A:B:C:azU", "extended-regexp=E", "fixed-strings=F", "ignore-case=i", "invert-match=v", "line-number=n",
		"count=c", "files-with-matches=l", "quiet=q", "silent=q", "only-matching=o", "recursive=r", "no-filename=h", "with-filename=H",
		"word-regexp=w", "line-regexp=x", "no-messages=s", "regexp=e", "file=f", "max-count=m", "after-context=A", "before-context=B", "context=C", "color=N", "colour=N")
	g := &grepper{call: c, o: o, most: -1, quiet: o.has('q')}
	patterns := o.all('e')
	for _, name := range o.all('f') {
		r, err := c.open(name)
		if err != nil {
			c.warnErr(name, err)
			return 2
		}
		lines(r, func(line []byte, _ bool) bool {
			patterns = append(patterns, string(line))
			return true
		})
		r.Close()
	}
	if !o.has('e') && !o.has('f') {
		if len(c.args) == 0 {
			c.misuse("missing pattern")
		}
		patterns = strings.Split(c.args[0], "\n")
		c.args = c.args[1:]
	}
	g.compile(patterns)
	for flag, n := range map[byte]*int64{'A': &g.after, 'B': &g.before, 'm': &g.most} {
		if s, ok := o.last(flag); ok {
			*n = c.number(s)
		}
	}
	if s, ok := o.last('C'); ok {
		g.after, g.before = c.number(s), c.number(s)
	}
	deep := o.has('r') || o.has('R')
	g.titles = (len(c.args) > 1 || deep || o.has('H')) && !o.has('h')
	if deep && len(c.args) == 0 {
		c.args = []string{"."}
	}
	if len(c.args) == 0 {
		c.args = []string{"-"}
	}
	for _, name := range c.args {
		if deep && name != "-" {
			g.walk(name)
		} else {
			g.file(name)
		}
		if g.found && g.quiet || c.gone() {
			break
		}
	}
	switch {
	case g.found && g.quiet:
		g.code = 0 // in spite of warnings
		return 0
	case c.code != 0:
		return 2
	case g.found:
		return 0
	}
	return 1
}

func (g *grepper) compile(patterns []string) {
	extended := g.o.latest("EFG") == 'E' || g.name == "egrep"
	fixed := g.o.latest("EFG") == 'F' || g.name == "fgrep"
	for _, p := range patterns {
		re, err := compile(p, extended, fixed, g.o.has('i'))
		if err == nil && (g.o.has('x') || g.o.has('w')) {
			if g.o.has('x') {
				re, err = regexp.Compile(`^(?:` + re.String() + `)$`)
			} else {
				re, err = regexp.Compile(`(?:^|\b)(?:` + re.String() + `)(?:\b|$)`)
			}
			if err == nil {
				re.Longest()
			}
		}
		if err != nil {
			g.warn("%v", err)
			panic(exits(2))
		}
		g.re = append(g.re, re)
	}
}

func (g *grepper) walk(name string) {
	fi, err := os.Stat(g.path(name))
	if err != nil {
		g.complain(name, err)
		return
	}
	if !fi.IsDir() {
		g.file(name)
		return
	}
	entries, err := os.ReadDir(g.path(name))
	if err != nil {
		g.complain(name, err)
	}
	for _, e := range entries {
		sub := filepath.Join(name, e.Name())
		if strings.HasPrefix(name, "./") || name == "." {
			sub = "./" + sub
		}
		switch {
		case e.IsDir():
			g.walk(sub)
		case e.Type().IsRegular() || e.Type()&os.ModeSymlink != 0 && g.o.has('R'):
			g.file(sub)
		}
		if g.found && g.quiet || g.gone() {
			return
		}
	}
}

func (g *grepper) complain(name string, err error) {
	if g.o.has('s') {
		g.code = max(g.code, 2)
		return
	}
	g.warnErr(name, err)
}

func (g *grepper) match(line []byte) (loc []int) {
	for _, re := range g.re {
		at := re.FindIndex(line)
		if at != nil && (loc == nil || at[0] < loc[0] || at[0] == loc[0] && at[1] > loc[1]) {
			loc = at
		}
	}
	return loc
}

func (g *grepper) matches(line []byte) bool {
	for _, re := range g.re {
		if re.Match(line) {
			return !g.o.has('v')
		}
	}
	return g.o.has('v')
}

func (g *grepper) file(name string) {
	r, err := g.open(name)
	if err != nil {
		g.complain(name, err)
		return
	}
	defer r.Close()
	n, err := g.scan(name, r)
	if err != nil && !broken(err) {
		g.complain(name, err)
		return
	}
	if n > 0 {
		g.found = true
	}
	label := name
	if name == "-" {
		label = "(standard input)"
	}
	switch {
	case g.quiet:
	case g.o.has('l'):
		if n > 0 {
			g.print(label, "\n")
		}
	case g.o.has('L'):
		if n == 0 {
			g.print(label, "\n")
		}
	case g.o.has('c'):
		if g.titles {
			g.print(label, ":")
		}
		g.printf("%d\n", n)
	}
}

// scan prints the lines of one file and counts what was found.
func (g *grepper) scan(name string, r io.Reader) (n int64, err error) {
	if name == "-" {
		name = "(standard input)"
	}
	silent := g.quiet || g.o.has('l') || g.o.has('L') || g.o.has('c')
	var held [][]byte // lines before, for -B
	no, afterLeft, lastShown := int64(0), int64(0), int64(0)
	show := func(line []byte, at int64, sep string) {
		if g.titles {
			g.print(name, sep)
		}
		if g.o.has('n') {
			g.printf("%d%s", at, sep)
		}
		g.out.Write(line)
		g.print("\n")
		lastShown = at
	}
	if g.most == 0 {
		return 0, nil
	}
	err = lines(r, func(line []byte, _ bool) bool {
		no++
		if !g.matches(line) {
			if afterLeft > 0 {
				afterLeft--
				show(line, no, "-")
			} else if g.before > 0 {
				held = append(held, bytes.Clone(line))
				if int64(len(held)) > g.before {
					held = held[1:]
				}
			}
			return !(g.most > 0 && n >= g.most && afterLeft == 0)
		}
		if g.most > 0 && n >= g.most {
			return false
		}
		n++
		if silent {
			return !(g.quiet || g.o.has('l') || g.o.has('L'))
		}
		if (g.before > 0 || g.after > 0) && lastShown > 0 && no-int64(len(held)) > lastShown+1 {
			g.print("--\n")
		}
		for i, h := range held {
			show(h, no-int64(len(held)-i), "-")
		}
		held = nil
		if g.o.has('o') {
			g.only(line, func(part []byte) { show(part, no, ":") })
		} else {
			show(line, no, ":")
		}
		afterLeft = g.after
		return !g.gone() && !(n == g.most && g.after == 0)
	})
	return n, err
}

// only calls fn with each part that matches.
func (g *grepper) only(line []byte, fn func([]byte)) {
	if g.o.has('v') {
		return
	}
	for len(line) > 0 {
		at := g.match(line)
		if at == nil {
			return
		}
		if at[1] > at[0] {
			fn(line[at[0]:at[1]])
			line = line[at[1]:]
		} else {
			line = line[min(len(line), at[1]+1):]
		}
	}
}
