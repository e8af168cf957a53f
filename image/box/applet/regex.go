package applet

import (
	"fmt"
	"regexp"
	"strings"
)

// compile makes a matcher of a POSIX pattern. Go's engine is of another kind:
// there are no back-references (and so no pattern takes exponential time).
func compile(pattern string, extended, fixed, fold bool) (*regexp.Regexp, error) {
	expr := pattern
	switch {
	case fixed:
		expr = regexp.QuoteMeta(pattern)
	case extended:
		expr = fromPOSIX(pattern, true)
	default:
		expr = fromPOSIX(pattern, false)
	}
	if fold {
		expr = "(?i)" + expr
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("bad regex '%s': %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	re.Longest()
	return re, nil
}

// fromPOSIX rewrites a basic or extended pattern into Go's syntax.
func fromPOSIX(p string, extended bool) string {
	var b strings.Builder
	start := true // where a * is itself and, in a basic pattern, ^ an anchor
	for i := 0; i < len(p); i++ {
		ch := p[i]
		atStart := start
		start = false
		switch {
		case ch == '\\' && i+1 < len(p):
			i++
			start = escaped(&b, p[i], extended)
		case ch == '\\':
			b.WriteString(`\\`)
		case ch == '[':
			n := bracket(&b, p[i:])
			i += n - 1
		case ch == '*':
			if atStart {
				b.WriteString(`\*`)
			} else {
				b.WriteByte('*')
			}
		case ch == '^':
			if extended || atStart {
				b.WriteByte('^')
				start = true
			} else {
				b.WriteString(`\^`)
			}
		case ch == '$':
			rest := p[i+1:]
			if extended || rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`) {
				b.WriteByte('$')
			} else {
				b.WriteString(`\$`)
			}
		case ch == '{' && extended && !isInterval(p[i:], "}"):
			b.WriteString(`\{`)
		case ch == '(' || ch == '|':
			if !extended {
				b.WriteByte('\\')
			}
			b.WriteByte(ch)
			start = extended
		case strings.IndexByte(`+?){}`, ch) >= 0:
			if !extended || atStart && (ch == '+' || ch == '?') {
				b.WriteByte('\\')
			}
			b.WriteByte(ch)
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

func isInterval(s, end string) bool {
	i := strings.Index(s, end)
	return i > 1 && strings.Trim(s[1:i], "0123456789,") == "" && s[1] != ','
}

// escaped writes \ch; it reports whether a pattern starts after it.
func escaped(b *strings.Builder, ch byte, extended bool) (start bool) {
	switch ch {
	case '(', '|', '{', '+', '?', ')', '}':
		if extended {
			b.WriteByte('\\')
		}
		b.WriteByte(ch)
		return !extended && (ch == '(' || ch == '|')
	case '<', '>':
		b.WriteString(`\b`)
	case 'w', 'W', 's', 'S', 'b', 'B', 'n', 't':
		b.WriteByte('\\')
		b.WriteByte(ch)
	case '`':
		b.WriteString(`\A`)
	case '\'':
		b.WriteString(`\z`)
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		b.WriteByte('\\') // Go says that it has no such thing
		b.WriteByte(ch)
	default:
		b.WriteString(regexp.QuoteMeta(string(ch)))
	}
	return false
}

// bracket writes the set that s begins with, and returns its length. In it a
// backslash is itself.
func bracket(b *strings.Builder, s string) int {
	i := 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for i < len(s) && s[i] != ']' {
		if s[i] == '[' && i+1 < len(s) && strings.IndexByte(":.=", s[i+1]) >= 0 {
			if end := strings.Index(s[i+2:], string(s[i+1])+"]"); end >= 0 {
				i += 2 + end + 2
				continue
			}
		}
		i++
	}
	if i >= len(s) {
		b.WriteString(`\[`)
		return 1
	}
	set := s[1:i]
	b.WriteByte('[')
	if strings.HasPrefix(set, "^") {
		b.WriteString("^")
		set = set[1:]
	}
	for j := 0; j < len(set); j++ {
		switch {
		case set[j] == '[' && j+1 < len(set) && set[j+1] == ':':
			end := strings.Index(set[j:], ":]")
			if end < 0 {
				b.WriteString(`\[`)
				continue
			}
			b.WriteString(set[j : j+end+2])
			j += end + 1
		case set[j] == '\\' || set[j] == '[' || set[j] == ']' || set[j] == '^' || set[j] == '&' || set[j] == '~':
			b.WriteByte('\\')
			b.WriteByte(set[j])
		default:
			b.WriteByte(set[j])
		}
	}
	b.WriteByte(']')
	return i + 1
}
