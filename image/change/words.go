package change

import (
	"errors"
	"fmt"
	"strings"
)

// pairs reads `k=v k2="v 2"` or the older `k v`, variables expanded.
func pairs(s string, env []string) ([][2]string, error) {
	words, err := fields(s)
	if err != nil {
		return nil, err
	}
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		i := strings.IndexAny(s, " \t")
		if i < 0 {
			return nil, fmt.Errorf("%s must have two arguments", s)
		}
		v, err := expand(strings.TrimSpace(s[i:]), env)
		return [][2]string{{words[0], v}}, err
	}
	var out [][2]string
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			return nil, fmt.Errorf("can't find = in %q: must be of the form name=value", w)
		}
		if k, err = expand(k, env); err != nil {
			return nil, err
		}
		if v, err = expand(v, env); err != nil {
			return nil, err
		}
		if k == "" {
			return nil, errors.New("names can not be blank")
		}
		out = append(out, [2]string{k, v})
	}
	return out, nil
}

// fields splits at blanks that are not quoted; quotes and escapes stay.
func fields(s string) ([]string, error) {
	var out []string
	var quote byte
	start := -1
	for i := 0; i < len(s); i++ {
		c := s[i]
		if quote == 0 && (c == ' ' || c == '\t') {
			if start >= 0 {
				out, start = append(out, s[start:i]), -1
			}
			continue
		}
		if start < 0 {
			start = i
		}
		switch {
		case c == '\\' && quote != '\'':
			i++
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case c == quote:
			quote = 0
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unterminated quote %c", quote)
	}
	if start >= 0 {
		out = append(out, s[start:])
	}
	return out, nil
}

// expand takes quotes and escapes away and puts $NAME, ${NAME}, ${NAME:-word}
// and ${NAME:+word} in, as the Dockerfile reference has it.
func expand(s string, env []string) (string, error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 < len(s):
			if quote == '"' && !strings.ContainsRune("\"$\\", rune(s[i+1])) {
				b.WriteByte(c)
			}
			i++
			b.WriteByte(s[i])
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '$' && quote != '\'':
			v, n, err := variable(s[i+1:], env)
			if err != nil {
				return "", err
			}
			if n == 0 {
				b.WriteByte(c)
			}
			b.WriteString(v)
			i += n
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("unterminated quote %c", quote)
	}
	return b.String(), nil
}

// variable reads what stands behind a dollar: its value and length.
func variable(s string, env []string) (string, int, error) {
	if !strings.HasPrefix(s, "{") {
		n := nameLen(s)
		return lookup(env, s[:n]), n, nil
	}
	end := closing(s)
	if end < 0 {
		return "", 0, errors.New("syntax error: missing '}'")
	}
	inner := s[1:end]
	n := nameLen(inner)
	if n == 0 {
		return "", 0, fmt.Errorf("unsupported modifier in ${%s}", inner)
	}
	v, mod := lookup(env, inner[:n]), inner[n:]
	switch {
	case mod == "":
	case strings.HasPrefix(mod, ":-"):
		if v == "" {
			w, err := expand(mod[2:], env)
			return w, end + 1, err
		}
	case strings.HasPrefix(mod, ":+"):
		if v != "" {
			w, err := expand(mod[2:], env)
			return w, end + 1, err
		}
	default:
		return "", 0, fmt.Errorf("unsupported modifier in ${%s}", inner)
	}
	return v, end + 1, nil
}

func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func nameLen(s string) int {
	n := 0
	for n < len(s) {
		c := s[n]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (n == 0 || c < '0' || c > '9') {
			break
		}
		n++
	}
	return n
}

func lookup(env []string, name string) string {
	for _, e := range env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	return ""
}
