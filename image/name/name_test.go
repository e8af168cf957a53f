package name

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	hex := strings.Repeat("a1", 32)
	for in, want := range map[string][2]string{
		"debian":                        {"docker.io/library/debian:latest", "debian:latest"},
		"debian:12":                     {"docker.io/library/debian:12", "debian:12"},
		"docker.io/debian":              {"docker.io/library/debian:latest", "debian:latest"},
		"index.docker.io/library/a":     {"docker.io/library/a:latest", "a:latest"},
		"me/app":                        {"docker.io/me/app:latest", "me/app:latest"},
		"library/a/b":                   {"docker.io/library/a/b:latest", "library/a/b:latest"},
		"localhost/x":                   {"localhost/x:latest", "localhost/x:latest"},
		"localhost:5000/x":              {"localhost:5000/x:latest", "localhost:5000/x:latest"},
		"localhost:5000":                {"docker.io/library/localhost:5000", "localhost:5000"},
		"REG.example/x:T_1":             {"REG.example/x:T_1", "REG.example/x:T_1"},
		"[2001:db8::1]:5000/x":          {"[2001:db8::1]:5000/x:latest", "[2001:db8::1]:5000/x:latest"},
		"me/a__b.c---d":                 {"docker.io/me/a__b.c---d:latest", "me/a__b.c---d:latest"},
		"x@sha256:" + hex:               {"docker.io/library/x@sha256:" + hex, "x@sha256:" + hex},
		"q.io/x:1@sha256:" + hex:        {"q.io/x:1@sha256:" + hex, "q.io/x:1@sha256:" + hex},
		"x:" + strings.Repeat("a", 128): {"docker.io/library/x:" + strings.Repeat("a", 128), "x:" + strings.Repeat("a", 128)},
	} {
		r, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if r = r.WithTag(); r.String() != want[0] || r.Familiar() != want[1] {
			t.Errorf("%s: %s, %s", in, r, r.Familiar())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	hex := strings.Repeat("a1", 32)
	for in, want := range map[string]string{
		"Debian":                        "invalid reference format: repository name (library/Debian) must be lowercase",
		"me/App:x":                      "invalid reference format: repository name (me/App) must be lowercase",
		"":                              "invalid reference format",
		"a b":                           "invalid reference format",
		"-a":                            "invalid reference format",
		"a/":                            "invalid reference format",
		"a//b":                          "invalid reference format",
		"a___b":                         "invalid reference format",
		"a._b":                          "invalid reference format",
		"a:":                            "invalid reference format",
		"a:.x":                          "invalid reference format",
		"a:b:c":                         "invalid reference format",
		"a@sha256:12":                   "invalid reference format",
		"a@md5:" + hex[:32]:             "invalid reference format",
		"host.x:port/a":                 "invalid reference format",
		"../../etc/passwd":              "invalid reference format",
		"[::1/a":                        "invalid reference format",
		hex:                             "invalid repository name (" + hex + "), cannot specify 64-byte hexadecimal strings",
		"a:" + strings.Repeat("a", 129): "invalid reference format",
		strings.Repeat("a", 256):        "repository name must not be more than 255 characters: invalid reference format",
	} {
		_, err := Parse(in)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		} else if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrHexID) {
			t.Errorf("%q: %v is no sentinel", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"debian", "a/b:c@sha256:" + strings.Repeat("0", 64), "[::1]:5/x", "A", "a___b", ":", "@", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.Familiar())
		if err != nil || again != r {
			t.Fatalf("%q: %+v becomes %+v, %v", s, r, again, err)
		}
		if again, err = Parse(r.String()); err != nil || again != r {
			t.Fatalf("%q: in full %+v becomes %+v, %v", s, r, again, err)
		}
	})
}
