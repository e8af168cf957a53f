package applet

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// sortKey is one -k F[.C][OPTS][,F[.C][OPTS]].
type sortKey struct {
	from, fromChar int
	to, toChar     int // 0: to the end
	how            string
}

type sorter struct {
	keys  []sortKey
	how   string // global options among "nrfbdhMgVi"
	delim string
}

func sortLines(c *call) int {
	o := c.opts("nrut:bfdghMVsiczmo:k:S:T:", "numeric-sort=n", "reverse=r", "unique=u", "key=k", "field-separator=t", "ignore-case=f", "human-numeric-sort=h", "version-sort=V", "stable=s", "check=c", "output=o")
	s := &sorter{delim: o.str('t', "")}
	for _, f := range []byte("nrfbdhMgVi") {
		if o.has(f) {
			s.how += string(f)
		}
	}
	for _, spec := range o.all('k') {
		k, ok := parseKey(spec)
		if !ok {
			c.misuse("bad key '%s'", spec)
		}
		s.keys = append(s.keys, k)
	}
	end := byte('\n')
	if o.has('z') {
		end = 0
	}
	var all []string
	c.inputs(c.args, func(_ string, r io.Reader) error {
		return records(r, end, func(line []byte, _ bool) bool {
			all = append(all, string(line))
			return c.ctx.Err() == nil
		})
	})
	byKeys := func(a, b string) int { return s.compare(a, b) }
	full := func(a, b string) int {
		if n := s.compare(a, b); n != 0 || o.has('s') || o.has('u') {
			return n
		}
		n := strings.Compare(a, b)
		if strings.Contains(s.how, "r") {
			n = -n
		}
		return n
	}
	if o.has('c') {
		for i := 1; i < len(all); i++ {
			if n := byKeys(all[i-1], all[i]); n > 0 || n == 0 && o.has('u') {
				c.warn("disorder: %s", all[i])
				return 1
			}
		}
		return 0
	}
	slices.SortStableFunc(all, full)
	if o.has('u') {
		all = slices.CompactFunc(all, func(a, b string) bool { return byKeys(a, b) == 0 })
	}
	if name, ok := o.last('o'); ok {
		defer c.redirect(name)()
	}
	for _, line := range all {
		c.print(line)
		c.out.WriteByte(end)
		if c.gone() {
			break
		}
	}
	return 0
}

// redirect sends what is printed to a file, until the result is called.
func (c *call) redirect(name string) func() {
	c.out.Flush()
	f, err := os.Create(c.path(name))
	if err != nil {
		c.die("%s: %s", name, reason(err))
	}
	old := c.out
	c.out = bufio.NewWriter(f)
	return func() {
		err := c.out.Flush()
		if e := f.Close(); err == nil {
			err = e
		}
		c.out = old
		if err != nil {
			c.warnErr(name, err)
		}
	}
}

func parseKey(spec string) (k sortKey, ok bool) {
	from, to, has := strings.Cut(spec, ",")
	pos := func(s string) (f, ch int, how string, ok bool) {
		i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if i >= 0 {
			s, how = s[:i], s[i:]
		}
		a, b, dot := strings.Cut(s, ".")
		f, err := strconv.Atoi(a)
		if err == nil && dot {
			ch, err = strconv.Atoi(b)
		}
		return f, ch, how, err == nil && strings.Trim(how, "nrfbdhMgVi") == ""
	}
	var how2 string
	if k.from, k.fromChar, k.how, ok = pos(from); !ok || k.from < 1 {
		return k, false
	}
	if has {
		if k.to, k.toChar, how2, ok = pos(to); !ok || k.to < 1 {
			return k, false
		}
		k.how += how2
	}
	return k, true
}

func (s *sorter) compare(a, b string) int {
	if len(s.keys) == 0 {
		return compareAs(a, b, s.how)
	}
	for _, k := range s.keys {
		how := k.how
		if how == "" {
			how = s.how
		}
		if n := compareAs(s.field(a, k, how), s.field(b, k, how), how); n != 0 {
			return n
		}
	}
	return 0
}

// field cuts a key out of a line. Without -t a field begins with the blanks
// before it.
func (s *sorter) field(line string, k sortKey, how string) string {
	start := s.offset(line, k.from-1)
	if strings.Contains(how, "b") {
		for start < len(line) && (line[start] == ' ' || line[start] == '\t') {
			start++
		}
	}
	if k.fromChar > 1 {
		start = min(len(line), start+k.fromChar-1)
	}
	end := len(line)
	switch {
	case k.to > 0 && k.toChar > 0:
		end = min(len(line), s.offset(line, k.to-1)+k.toChar)
	case k.to > 0:
		end = s.offset(line, k.to)
		if s.delim != "" && end < len(line) || s.delim != "" && end > 0 && end == len(line) && strings.HasSuffix(line, s.delim) {
			end = max(0, end-len(s.delim))
		}
	}
	if end < start {
		return ""
	}
	return line[start:end]
}

// offset is where field n, from 0, begins.
func (s *sorter) offset(line string, n int) int {
	at := 0
	for range n {
		if s.delim != "" {
			i := strings.Index(line[at:], s.delim)
			if i < 0 {
				return len(line)
			}
			at += i + len(s.delim)
			continue
		}
		for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
			at++
		}
		for at < len(line) && line[at] != ' ' && line[at] != '\t' {
			at++
		}
	}
	return at
}

func compareAs(a, b, how string) int {
	n := 0
	has := func(f string) bool { return strings.Contains(how, f) }
	switch {
	case has("n"), has("g"):
		n = cmpFloat(leadingNumber(a, has("g")), leadingNumber(b, has("g")))
	case has("h"):
		n = cmpFloat(humanNumber(a), humanNumber(b))
	case has("M"):
		n = month(a) - month(b)
	case has("V"):
		n = compareVersions(a, b)
	default:
		if has("b") {
			a, b = strings.TrimLeft(a, " \t"), strings.TrimLeft(b, " \t")
		}
		if has("d") {
			a, b = dictionary(a), dictionary(b)
		}
		if has("f") {
			a, b = strings.ToUpper(a), strings.ToUpper(b)
		}
		n = strings.Compare(a, b)
	}
	if has("r") {
		return -n
	}
	return n
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func dictionary(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r >= '0' && r <= '9' || r|32 >= 'a' && r|32 <= 'z' || r > 127 {
			return r
		}
		return -1
	}, s)
}

func leadingNumber(s string, general bool) float64 {
	s = strings.TrimLeft(s, " \t")
	may := "-.0123456789"
	if general {
		may += "+eExXpPinfINFaA"
	}
	n := len(s) - len(strings.TrimLeft(s, may))
	for ; n > 0; n-- {
		if f, err := strconv.ParseFloat(s[:n], 64); err == nil {
			return f
		}
	}
	return 0
}

func humanNumber(s string) float64 {
	f := leadingNumber(s, false)
	for i, u := range "KMGTPE" {
		if strings.HasSuffix(strings.TrimLeft(strings.TrimSpace(s), "-.0123456789"), string(u)) {
			for range i + 1 {
				f *= 1024
			}
		}
	}
	return f
}

func month(s string) int {
	s = strings.ToUpper(strings.TrimLeft(s, " \t"))
	for i, m := range strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC") {
		if strings.HasPrefix(s, m) {
			return i + 1
		}
	}
	return 0
}

func compareVersions(a, b string) int {
	digit := func(ch byte) bool { return ch >= '0' && ch <= '9' }
	for a != "" && b != "" {
		if digit(a[0]) && digit(b[0]) {
			i, j := 0, 0
			for i < len(a) && digit(a[i]) {
				i++
			}
			for j < len(b) && digit(b[j]) {
				j++
			}
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if n := strings.Compare(x, y); n != 0 {
				return n
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}
