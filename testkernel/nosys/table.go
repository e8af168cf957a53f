package nosys

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

//go:embed syscalls.tsv
var syscallsText string

//go:embed options.tsv
var optionsText string

//go:embed unseen.tsv
var unseenText string

// call is a line of syscalls.tsv. Where arch is given, it speaks of the entry
// nr of that architecture's table alone.
type call struct {
	name  string
	since Version
	arch  string
	nr    uint32
}

// option is a line of options.tsv.
type option struct {
	names []string
	tests []test
	since Version
	errno unix.Errno
	what  string
}

// test is one condition on an argument: op is one of = & >.
type test struct {
	arg   int
	op    byte
	value uint32
}

// unseen is a line of unseen.tsv.
type unseen struct {
	kind, name string
	since      Version
	what       string
}

// lines calls do with the fields of each line that is not a comment.
func lines(file, text string, do func(f []string) error) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(strings.Split(line, "\t")); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return nil
}

func calls() ([]call, error) {
	var out []call
	err := lines("syscalls.tsv", syscallsText, func(f []string) error {
		if len(f) != 2 && len(f) != 3 {
			return fmt.Errorf("%d fields, want 2 or 3", len(f))
		}
		v, err := ParseVersion(f[1])
		if err != nil {
			return err
		}
		c := call{name: f[0], since: v}
		if len(f) == 3 {
			arch, nr, _ := strings.Cut(f[2], ":")
			n, err := strconv.ParseUint(nr, 10, 32)
			if err != nil {
				return fmt.Errorf("%q: want arch:number", f[2])
			}
			c.arch, c.nr = arch, uint32(n)
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

func options() ([]option, error) {
	var out []option
	err := lines("options.tsv", optionsText, func(f []string) error {
		if len(f) != 5 {
			return fmt.Errorf("%d fields, want 5", len(f))
		}
		v, err := ParseVersion(f[2])
		if err != nil {
			return err
		}
		o := option{names: strings.Split(f[0], ","), since: v, what: f[4]}
		if o.errno = errnoNamed(f[3]); o.errno == 0 {
			return fmt.Errorf("errno %q is not known", f[3])
		}
		for _, w := range strings.Fields(f[1]) {
			t, err := parseTest(w)
			if err != nil {
				return err
			}
			o.tests = append(o.tests, t)
		}
		out = append(out, o)
		return nil
	})
	return out, err
}

// parseTest reads "arg1&0x20".
func parseTest(s string) (test, error) {
	rest, ok := strings.CutPrefix(s, "arg")
	if !ok || len(rest) < 3 || rest[0] < '0' || rest[0] > '5' || !strings.ContainsRune("=&>", rune(rest[1])) {
		return test{}, fmt.Errorf("test %q: want argN=V, argN&V or argN>V", s)
	}
	v, err := strconv.ParseUint(rest[2:], 0, 32)
	if err != nil {
		return test{}, fmt.Errorf("test %q: %w", s, err)
	}
	return test{arg: int(rest[0] - '0'), op: rest[1], value: uint32(v)}, nil
}

func errnoNamed(s string) unix.Errno {
	switch s {
	case "EINVAL":
		return unix.EINVAL
	case "ENOSYS":
		return unix.ENOSYS
	case "EIO":
		return unix.EIO
	case "EISDIR":
		return unix.EISDIR
	case "ENOTTY":
		return unix.ENOTTY
	case "EOPNOTSUPP":
		return unix.EOPNOTSUPP
	case "ENOPROTOOPT":
		return unix.ENOPROTOOPT
	case "EAFNOSUPPORT":
		return unix.EAFNOSUPPORT
	case "EPROTONOSUPPORT":
		return unix.EPROTONOSUPPORT
	}
	return 0
}

// unseenAt are the lines of unseen.tsv that a kernel of version v did not have.
func unseenAt(v Version) ([]unseen, error) {
	var out []unseen
	err := lines("unseen.tsv", unseenText, func(f []string) error {
		kinds := []string{"fs", "path", "file", "written", "controller", "option", "userns", "xattr", "flag", "link", "ignored"}
		if len(f) != 4 || !slices.Contains(kinds, f[0]) {
			return fmt.Errorf("want kind (one of %s), name, version, what", strings.Join(kinds, ", "))
		}
		since, err := ParseVersion(f[2])
		if err != nil {
			return err
		}
		if v.Less(since) {
			out = append(out, unseen{f[0], f[1], since, f[3]})
		}
		return nil
	})
	return out, err
}
