package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/testkernel/kernels"
	"coracle/testkernel/matrix/plan"
)

// output is a machine's, as far as the reader looks at it.
func output(t *testing.T, ended bool, body string) *reader {
	t.Helper()
	var b strings.Builder
	plan.WriteMark(&b, plan.Mark{Step: "coracle/probe"})
	b.WriteString(body)
	if ended {
		plan.WriteMark(&b, plan.Mark{Step: "coracle/probe", Ended: true, Code: 1, Seconds: 2})
	}
	r := newReader()
	for _, c := range []byte(b.String()) { // in the smallest pieces
		if _, err := r.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.outcomes) != 1 {
		t.Fatalf("%d outcomes in %q", len(r.outcomes), b.String())
	}
	return r
}

const verbose = `rungs root isolation=namespaces rootfs=copy limits=none
=== RUN   TestA
=== RUN   TestA/one
    a_test.go:3: missing feature: overlay: no such device
=== RUN   TestA/two
=== NAME  TestA
--- FAIL: TestA (0.20s)
    --- SKIP: TestA/one (0.00s)
    --- PASS: TestA/two (0.00s)
=== RUN   TestUser
    user.go:7: as another user:
        --- SKIP: TestNested (0.00s)
            nested_test.go:9: missing feature: veth
--- PASS: TestUser (0.00s)
FAIL
`

func TestReader(t *testing.T) {
	r := output(t, true, verbose)
	o := r.outcomes[0]
	if o.ok() || !o.Ended || o.Code != 1 || o.Passed != 2 || len(o.Failed) != 1 || o.Failed[0] != "TestA" {
		t.Errorf("%+v", o)
	}
	if len(o.Skipped) != 2 || o.Skipped[0].Why != "missing feature: overlay: no such device" || o.Skipped[1].Why != "missing feature: veth" {
		t.Errorf("%+v", o.Skipped)
	}
	if got := rungs(result{Rungs: r.rungs}, "root"); got != "namespaces, copy, none" {
		t.Error(got)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		what, want string
		r          result
	}{
		{"nothing ran", "no test has run", result{}},
		{"a step without an end", "not come to its end", result{Outcomes: output(t, false, "x\n").outcomes}},
		{"a failure", "exit code 1, failed: [TestA]", result{Outcomes: output(t, true, verbose).outcomes}},
	} {
		c.r.judge(nil, "")
		if got := strings.Join(c.r.Problems, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// TestSkipsArePoliced: a skip must name what is missing, and that must be
// missing.
func TestSkipsArePoliced(t *testing.T) {
	for _, c := range []struct{ kernel, why, want string }{
		{"bookworm", "missing feature: overlay: no such device", "this kernel has overlay"},
		{"no-overlay", "missing feature: overlay: no such device", ""},
		{"bookworm", "missing feature: aufs: no such device", ""},
		{"bullseye", "missing feature: overlay.userns: mount overlay: operation not permitted", ""},
		{"bookworm", "", "without a reason"},
		{"bookworm", "missing feature: overlay.nothing", ""},
		{"nosys 2.6.32", "missing feature: overlay", ""},
		// The suite runs as an ordinary user, too, on machines that have root.
		{"2013", "missing feature: mount(2), which needs root", "this kernel has root"},
		{"2013", "missing feature: mount(2) as an ordinary user", ""},
	} {
		got := strings.Join(wrongSkips(c.kernel, []skip{{"p", "TestX", c.why}}), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, %q: %q, want %q", c.kernel, c.why, got, c.want)
		}
	}
}

func TestTableIntoFile(t *testing.T) {
	k, err := kernels.Named("bare", "")
	if err != nil {
		t.Fatal(err)
	}
	r := result{Kernel: k, Outcomes: output(t, true, verbose).outcomes, Rungs: map[string]string{"root": "isolation=chroot", "user": "isolation=none"}}
	table := markdown([]result{r}, "", time.Unix(0, 0))
	for _, want := range []string{"1970-01-01", "all packages", "| bare | amd64 |", "| chroot | none |", "- missing feature: veth: bare\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
	file := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(file, []byte("a\n"+begin+"old\n"+end+"\nz\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := intoFile(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(file); string(data) != "a\n"+begin+"new\n"+end+"\nz\n" {
		t.Errorf("%q", data)
	}
	if err := os.WriteFile(file, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if intoFile(file, "new\n") == nil {
		t.Error("a file without marks is taken")
	}
}

func TestChoose(t *testing.T) {
	for names, want := range map[string]int{"quick": len(quick()), "all": len(kernels.All()), "bare,arm64": 2} {
		if list, err := choose(names); err != nil || len(list) != want {
			t.Errorf("%s: %d kernels, %v", names, len(list), err)
		}
	}
	if _, err := choose("bare,minix"); err == nil || !strings.Contains(err.Error(), `"minix"`) {
		t.Error(err)
	}
}

// TestOnlyTheSameIsKept: a result stands for exactly what it came from.
func TestOnlyTheSameIsKept(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "passed.json")
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(dir, nil, []string{"A=b"})
	if err != nil {
		t.Fatal(err)
	}
	keep(file, key, result{Version: "v"})
	if r, ok := passed(file, key); !ok || !r.Cached || r.Version != "v" {
		t.Errorf("%+v %v", r, ok)
	}
	if other, err := keyOf(dir, nil, []string{"A=c"}); err != nil || other == key {
		t.Error("another environment has the same key")
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, err := keyOf(dir, nil, []string{"A=b"}); err != nil || other == key {
		t.Error("another file has the same key")
	}
	if _, ok := passed(file, "other"); ok {
		t.Error("a result of something else is taken")
	}
}

// TestWhatRunsElsewhereExists: a test that was renamed must not run again
// unseen, nor a pattern stand for nothing.
func TestWhatRunsElsewhereExists(t *testing.T) {
	for pkg, pattern := range elsewhere() {
		top, sub, _ := strings.Cut(pattern, "$/^")
		sub = strings.ReplaceAll(strings.TrimSuffix(sub, "$"), "_", " ")
		for name := range strings.SplitSeq(strings.Trim(top, "^()$"), "|") {
			files, err := filepath.Glob(filepath.Join("../..", strings.TrimPrefix(pkg, "coracle/"), "*_test.go"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s has no tests: %v", pkg, err)
			}
			found := false
			for _, f := range files {
				data, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				found = found || strings.Contains(string(data), "\nfunc "+name+"(t *testing.T)") && strings.Contains(string(data), sub)
			}
			if !found {
				t.Errorf("%s has no %s", pkg, name)
			}
		}
	}
}

// TestParts: what a small machine cannot hold at once comes in several, and each
// package's tests in one of them.
func TestParts(t *testing.T) {
	whole := &tree{arch: "arm", packages: []string{"coracle/a", "coracle/a/b", "coracle/c", "coracle/none"}, seconds: 60, dir: t.TempDir()}
	write := func(name string, size int) {
		t.Helper()
		name = filepath.Join(whole.dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("testkernel", 100)
	write("suite/plan.json", 0)
	write("suite/tests/coracle/a/a.test", 50)
	write("suite/tests/coracle/a/testdata/x", 10)
	write("suite/tests/coracle/a/b/b.test", 50)
	write("suite/tests/coracle/c/c.test", 500)
	for limit, want := range map[int64]string{1000: "a b c", 250: "a b,c", 10: "a,b,c"} {
		list, err := whole.parts(limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range list {
			var has []string
			for _, name := range []string{"a/a", "a/b/b", "c/c"} {
				if _, err := os.Stat(filepath.Join(p.top(), "tests/coracle", name+".test")); err == nil {
					has = append(has, filepath.Base(name))
				}
			}
			got = append(got, strings.Join(has, " "))
			for _, name := range []string{"testkernel", "suite/plan.json", "suite/tests/coracle/a/testdata/x"} {
				if _, err := os.Stat(filepath.Join(p.dir, name)); err != nil {
					t.Error(err)
				}
			}
			if p != whole {
				p.remove()
			}
		}
		if s := strings.Join(got, ","); s != want {
			t.Errorf("%d bytes: %s, want %s", limit, s, want)
		}
	}
}
