package applet

import (
	"fmt"
	"strconv"
	"strings"
)

// unescape reads backslash sequences; in echo's dialect octal numbers begin
// with 0, and \c ends the output.
func unescape(s string, echo bool) (out string, stop bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch ch := s[i]; ch {
		case 'a':
			b.WriteByte(7)
		case 'b':
			b.WriteByte(8)
		case 'e':
			b.WriteByte(27)
		case 'f':
			b.WriteByte(12)
		case 'n':
			b.WriteByte(10)
		case 'r':
			b.WriteByte(13)
		case 't':
			b.WriteByte(9)
		case 'v':
			b.WriteByte(11)
		case '\\':
			b.WriteByte('\\')
		case 'c':
			return b.String(), true
		case 'x':
			n := span(s[i+1:], 2, "0123456789abcdefABCDEF")
			v, err := strconv.ParseUint(s[i+1:i+1+n], 16, 8)
			if err != nil {
				b.WriteString(`\x`)
				continue
			}
			b.WriteByte(byte(v))
			i += n
		case '0', '1', '2', '3', '4', '5', '6', '7':
			digits := 3
			if echo && ch == '0' {
				digits = 4
			}
			n := span(s[i:], digits, "01234567")
			v, _ := strconv.ParseUint(s[i:i+n], 8, 16)
			b.WriteByte(byte(v))
			i += n - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(ch)
		}
	}
	return b.String(), false
}

// span counts how many of the first most bytes are in set.
func span(s string, most int, set string) int {
	n := 0
	for n < len(s) && n < most && strings.IndexByte(set, s[n]) >= 0 {
		n++
	}
	return n
}

func printf(c *call) int {
	c.want(1, -1)
	format, args := c.args[0], c.args[1:]
	for {
		used, stop := printfOnce(c, format, &args)
		if stop || !used || len(args) == 0 {
			return 0
		}
	}
}

// printfOnce prints once by format; used says whether it took an argument.
func printfOnce(c *call, format string, args *[]string) (used, stop bool) {
	next := func() string {
		used = true
		if len(*args) == 0 {
			return ""
		}
		s := (*args)[0]
		*args = (*args)[1:]
		return s
	}
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			i = len(format)
		}
		s, stop := unescape(format[:i], false)
		c.print(s)
		if format = format[i:]; stop || format == "" {
			return used, stop
		}
		if strings.HasPrefix(format, "%%") {
			c.print("%")
			format = format[2:]
			continue
		}
		n := 1 + span(format[1:], 9, "-+ #0")
		spec := format[:n]
		for _, part := range []string{"", "."} {
			if part != "" {
				if !strings.HasPrefix(format[n:], part) {
					break
				}
				spec += part
				n++
			}
			if strings.HasPrefix(format[n:], "*") {
				spec += strconv.FormatInt(printfInt(c, next()), 10)
				n++
			}
			d := span(format[n:], 9, "0123456789")
			spec += format[n : n+d]
			n += d
		}
		n += span(format[n:], 2, "lhjzt")
		if n >= len(format) {
			c.die("%s: invalid format", format)
		}
		if printfVerb(c, spec, format[n], next) {
			return used, true
		}
		format = format[n+1:]
	}
	return used, false
}

func printfVerb(c *call, spec string, verb byte, next func() string) (stop bool) {
	switch verb {
	case 's':
		c.printf(spec+"s", next())
	case 'b':
		s, stop := unescape(next(), true)
		c.printf(spec+"s", s)
		return stop
	case 'c':
		s := next()
		c.printf(spec+"s", s[:min(1, len(s))])
	case 'd', 'i':
		c.printf(spec+"d", printfInt(c, next()))
	case 'u':
		c.printf(spec+"d", uint64(printfInt(c, next())))
	case 'o', 'x', 'X':
		c.printf(spec+string(verb), uint64(printfInt(c, next())))
	case 'e', 'E', 'f', 'F', 'g', 'G':
		s := next()
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && s != "" {
			c.warn("invalid number '%s'", s)
		}
		if (verb == 'g' || verb == 'G') && !strings.Contains(spec, ".") {
			spec += ".6"
		}
		c.printf(spec+string(verb), f)
	default:
		c.die("%%%c: invalid format", verb)
	}
	return false
}

func printfInt(c *call, s string) int64 {
	if s == "" {
		return 0
	}
	if s[0] == '\'' || s[0] == '"' {
		for _, r := range s[1:] {
			return int64(r)
		}
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 0, 64)
	if err != nil {
		if u, uerr := strconv.ParseUint(s, 0, 64); uerr == nil {
			return int64(u)
		}
		fmt.Sscanf(s, "%d", &n)
		c.warn("invalid number '%s'", s)
	}
	return n
}
