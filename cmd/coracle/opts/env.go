// Package opts reads the values of command line flags as Docker's CLI reads
// them: environment files, mounts, sizes, devices, times. It turns text into
// the API's types, and knows nothing of what is done with them.
package opts

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Env merges files of variables and single variables, files first. A variable
// without a value takes that of our own environment; if it has none there, a
// file's line is dropped, while a flag's stays (it unsets what the image sets).
func Env(files, vars []string) ([]string, error) {
	var env []string
	for _, path := range files {
		lines, err := keyFile(path, "env", os.LookupEnv)
		if err != nil {
			return nil, err
		}
		env = append(env, lines...)
	}
	for _, v := range vars {
		name, _, given := strings.Cut(v, "=")
		if err := Variable(v); err != nil {
			return nil, err
		}
		if !given {
			if value, ok := os.LookupEnv(name); ok {
				v = name + "=" + value
			}
		}
		env = append(env, v)
	}
	return env, nil
}

// Variable checks that v has a name.
func Variable(v string) error {
	if v == "" || v[0] == '=' {
		return fmt.Errorf("invalid environment variable: %s", v)
	}
	return nil
}

// Labels merges files of labels and single ones, files first.
func Labels(files, labels []string) (map[string]string, error) {
	all := map[string]string{}
	for _, path := range files {
		lines, err := keyFile(path, "label", nil)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			k, v, _ := strings.Cut(l, "=")
			all[k] = v
		}
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		if k == "" {
			return nil, fmt.Errorf("invalid label '%s': empty name", l)
		}
		all[k] = v
	}
	return all, nil
}

// keyFile reads a file of name=value lines; "#" starts a comment line. A name
// alone is looked up, or kept when lookup is nil.
func keyFile(path, kind string, lookup func(string) (string, bool)) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines, err := keyLines(f, lookup)
	if err != nil {
		return nil, fmt.Errorf("invalid %s file (%s): %w", kind, path, err)
	}
	return lines, nil
}

func keyLines(r io.Reader, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		raw := in.Bytes()
		if n == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		}
		if !utf8.Valid(raw) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %q", n, raw)
		}
		// Only leading space goes: a value may end in spaces.
		line := strings.TrimLeftFunc(string(raw), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, given := strings.Cut(line, "=")
		switch {
		case name == "":
			return nil, fmt.Errorf("no variable name on line '%s'", line)
		case strings.ContainsFunc(name, unicode.IsSpace):
			return nil, fmt.Errorf("variable '%s' contains whitespaces", name)
		case given || lookup == nil:
			out = append(out, line)
		default:
			if value, ok := lookup(name); ok {
				out = append(out, name+"="+value)
			}
		}
	}
	return out, in.Err()
}
