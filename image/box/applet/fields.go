package applet

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ranges are the lists of cut: 1,3-5,7-.
type ranges [][2]int

func parseRanges(s string) (ranges, error) {
	var rs ranges
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		lo, hi, dash := strings.Cut(part, "-")
		a, b := 1, 1<<30
		var err error
		if lo != "" {
			a, err = strconv.Atoi(lo)
		}
		if err == nil && dash && hi != "" {
			b, err = strconv.Atoi(hi)
		}
		if !dash {
			b = a
		}
		if err != nil || a < 1 || b < a || part == "-" {
			return nil, fmt.Errorf("invalid range '%s'", part)
		}
		rs = append(rs, [2]int{a, b})
	}
	if rs == nil {
		return nil, fmt.Errorf("invalid range '%s'", s)
	}
	return rs, nil
}

func (rs ranges) has(n int) bool {
	for _, r := range rs {
		if n >= r[0] && n <= r[1] {
			return true
		}
	}
	return false
}

func cut(c *call) int {
	o := c.opts("d:f:c:b:snO:", "delimiter=d", "fields=f", "characters=c", "bytes=b", "only-delimited=s", "complement=v", "output-delimiter=O")
	kind := o.latest("fcb")
	if kind == 0 {
		c.misuse("one of -f, -c, -b is needed")
	}
	rs, err := parseRanges(o.str(kind, ""))
	if err != nil {
		c.die("%v", err)
	}
	delim := o.str('d', "\t")
	if len([]rune(delim)) != 1 {
		c.misuse("the delimiter must be a single character")
	}
	outDelim := o.str('O', delim)
	flip := o.has('v')
	c.inputs(c.args, func(_ string, r io.Reader) error {
		return lines(r, func(line []byte, _ bool) bool {
			switch {
			case kind == 'b':
				for i := range line {
					if rs.has(i+1) != flip {
						c.out.WriteByte(line[i])
					}
				}
			case kind == 'c':
				for i, ch := range []rune(string(line)) {
					if rs.has(i+1) != flip {
						c.out.WriteRune(ch)
					}
				}
			case !bytes.Contains(line, []byte(delim)):
				if o.has('s') {
					return true
				}
				c.out.Write(line)
			default:
				some := false
				for i, f := range strings.Split(string(line), delim) {
					if rs.has(i+1) == flip {
						continue
					}
					if some {
						c.print(outDelim)
					}
					some = true
					c.print(f)
				}
			}
			c.print("\n")
			return !c.gone()
		})
	})
	return 0
}

func uniq(c *call) int {
	o := c.opts("cduif:s:w:z", "count=c", "repeated=d", "unique=u", "ignore-case=i", "skip-fields=f", "skip-chars=s", "check-chars=w")
	c.want(0, 2)
	skipFields, skipChars := int(c.number(o.str('f', "0"))), int(c.number(o.str('s', "0")))
	width := int(c.number(o.str('w', "0")))
	key := func(s string) string {
		for range skipFields {
			s = strings.TrimLeft(s, " \t")
			i := strings.IndexAny(s, " \t")
			if i < 0 {
				i = len(s)
			}
			s = s[i:]
		}
		s = s[min(len(s), skipChars):]
		if width > 0 {
			s = s[:min(len(s), width)]
		}
		if o.has('i') {
			s = strings.ToLower(s)
		}
		return s
	}
	in := c.args
	if len(in) == 2 {
		in = in[:1]
		defer c.redirect(c.args[1])()
	}
	n, prev, prevKey := 0, "", ""
	flush := func() {
		if n == 0 || o.has('d') && n == 1 || o.has('u') && n > 1 {
			return
		}
		if o.has('c') {
			c.printf("%7d ", n)
		}
		c.print(prev, "\n")
	}
	c.inputs(in, func(_ string, r io.Reader) error {
		return lines(r, func(line []byte, _ bool) bool {
			k := key(string(line))
			if n > 0 && k == prevKey {
				n++
				return true
			}
			flush()
			n, prev, prevKey = 1, string(line), k
			return !c.gone()
		})
	})
	flush()
	return 0
}

func tr(c *call) int {
	o := c.opts("+cCdst", "complement=c", "delete=d", "squeeze-repeats=s", "truncate-set1=t")
	del, squeeze := o.has('d'), o.has('s')
	lo, hi := 2, 2
	if del && !squeeze {
		lo, hi = 1, 1
	} else if squeeze && !del {
		lo = 1
	}
	c.want(lo, hi)
	set1 := expandSet(c.args[0])
	if o.has('c') || o.has('C') {
		set1 = complement(set1)
	}
	var set2 []byte
	if len(c.args) > 1 {
		set2 = expandSet(c.args[1])
	}
	var to [256]byte
	var drop, once [256]bool
	for i := range to {
		to[i] = byte(i)
	}
	mark := func(set []byte, in *[256]bool) {
		for _, b := range set {
			in[b] = true
		}
	}
	switch {
	case del:
		mark(set1, &drop)
		if squeeze {
			mark(set2, &once)
		}
	case set2 == nil:
		mark(set1, &once)
	default:
		if len(set2) == 0 {
			c.die("the second set must not be empty")
		}
		for i, b := range set1 {
			if i >= len(set2) && o.has('t') {
				break
			}
			to[b] = set2[min(i, len(set2)-1)]
		}
		if squeeze {
			mark(set2, &once)
		}
	}
	return trCopy(c, &to, &drop, &once)
}

func trCopy(c *call, to *[256]byte, drop, once *[256]bool) int {
	buf := make([]byte, 32<<10)
	last := -1
	for {
		n, err := c.In.Read(buf)
		for _, b := range buf[:n] {
			if drop[b] {
				continue
			}
			b = to[b]
			if once[b] && last == int(b) {
				continue
			}
			last = int(b)
			c.out.WriteByte(b)
		}
		if c.out.Flush() != nil || err == io.EOF {
			return 0
		}
		if err != nil {
			c.warnErr("", err)
			return 1
		}
	}
}

func complement(set []byte) []byte {
	var in [256]bool
	for _, b := range set {
		in[b] = true
	}
	var out []byte
	for i := range in {
		if !in[i] {
			out = append(out, byte(i))
		}
	}
	return out
}

// expandSet reads tr's language: ranges, classes, escapes.
func expandSet(s string) []byte {
	var out []byte
	for len(s) > 0 {
		if strings.HasPrefix(s, "[:") {
			if end := strings.Index(s, ":]"); end > 1 {
				if cl, ok := class(s[2:end]); ok {
					out = append(out, cl...)
					s = s[end+2:]
					continue
				}
			}
		}
		var ch byte
		ch, s = setChar(s)
		if len(s) > 1 && s[0] == '-' {
			var end byte
			end, s = setChar(s[1:])
			for b := int(ch); b <= int(end); b++ {
				out = append(out, byte(b))
			}
			continue
		}
		out = append(out, ch)
	}
	return out
}

func setChar(s string) (byte, string) {
	if s[0] != '\\' || len(s) == 1 {
		return s[0], s[1:]
	}
	n := 2
	for n < len(s) && n < 4 && s[1] >= '0' && s[1] <= '7' && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if r, _ := unescape(s[:n], false); len(r) == 1 {
		return r[0], s[n:]
	}
	return s[1], s[2:]
}

func class(name string) ([]byte, bool) {
	var in func(b byte) bool
	between := func(lo, hi byte) func(byte) bool { return func(b byte) bool { return b >= lo && b <= hi } }
	upper, lower, digit := between('A', 'Z'), between('a', 'z'), between('0', '9')
	switch name {
	case "upper":
		in = upper
	case "lower":
		in = lower
	case "digit":
		in = digit
	case "alpha":
		in = func(b byte) bool { return upper(b) || lower(b) }
	case "alnum":
		in = func(b byte) bool { return upper(b) || lower(b) || digit(b) }
	case "space":
		in = func(b byte) bool { return b == ' ' || b >= 9 && b <= 13 }
	case "blank":
		in = func(b byte) bool { return b == ' ' || b == '\t' }
	case "punct":
		in = func(b byte) bool { return b > 32 && b < 127 && !upper(b) && !lower(b) && !digit(b) }
	case "cntrl":
		in = func(b byte) bool { return b < 32 || b == 127 }
	case "print":
		in = between(32, 126)
	case "graph":
		in = between(33, 126)
	case "xdigit":
		in = func(b byte) bool { return digit(b) || b|32 >= 'a' && b|32 <= 'f' }
	default:
		return nil, false
	}
	var out []byte
	for i := range 256 {
		if in(byte(i)) {
			out = append(out, byte(i))
		}
	}
	return out, true
}
