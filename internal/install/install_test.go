package install

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// place is one below a scratch prefix that is not there yet.
func place(t *testing.T) (*Place, *[]string) {
	var said []string
	p := &Place{Prefix: filepath.Join(t.TempDir(), "usr"), Version: "1"}
	p.Report = func(what, path string) { said = append(said, what+" "+strings.TrimPrefix(path, p.Prefix+"/")) }
	return p, &said
}

func script(name, text string) File {
	f := Bytes(name, []byte(text))
	f.Mode = 0o755
	return f
}

func set() []File {
	return []File{script("bin/a", "one"), {Path: "bin/b", Link: "a"}, Bytes("share/man/a.1", []byte("page"))}
}

// tree is all that is below the prefix: names with content or target.
func tree(t *testing.T, p *Place) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(p.Prefix, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(p.Prefix, path)
		content := ""
		if d.Type()&fs.ModeSymlink != 0 {
			content, err = os.Readlink(path)
		} else if rel != filepath.FromSlash(manifestPath) {
			var b []byte
			b, err = os.ReadFile(path)
			content = string(b)
		}
		all = append(all, rel+"="+content)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const whole = "bin/a=one bin/b=a share/coracle/manifest.json= share/man/a.1=page"

func TestInstallTwiceAndUninstall(t *testing.T) {
	p, said := place(t)
	must(t, p.Install(set()))
	if got := tree(t, p); got != whole {
		t.Fatalf("installed: %s", got)
	}
	if fi, err := os.Stat(filepath.Join(p.Prefix, "bin/a")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	*said = nil
	must(t, p.Install(set()))
	if want := []string{"keep bin/a", "keep bin/b", "keep share/man/a.1"}; !slices.Equal(*said, want) {
		t.Errorf("the second time: %q", *said)
	}
	// Another's file keeps its directory.
	must(t, os.WriteFile(filepath.Join(p.Prefix, "bin/theirs"), nil, 0o644))
	must(t, p.Uninstall())
	if got := tree(t, p); got != "bin/theirs=" {
		t.Errorf("left after uninstall: %s", got)
	}
	must(t, os.Remove(filepath.Join(p.Prefix, "bin/theirs")))
	if err := p.Uninstall(); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("the second uninstall: %v", err)
	}
}

func TestUpgrade(t *testing.T) {
	p, said := place(t)
	must(t, p.Install(set()))
	*said = nil
	must(t, p.Install([]File{script("bin/a", "two"), Bytes("share/new", []byte("n"))}))
	if want := []string{"replace bin/a", "install share/new", "remove bin/b", "remove share/man/a.1"}; !slices.Equal(*said, want) {
		t.Errorf("said %q", *said)
	}
	must(t, p.Uninstall())
	if _, err := os.Stat(p.Prefix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the prefix that was made is still there: %v, %s", err, tree(t, p))
	}
}

func TestInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		before func(p *Place) error
		force  bool // mends it
	}{
		"a file of others":      {func(p *Place) error { return os.WriteFile(p.real("bin/a"), []byte("theirs"), 0o755) }, true},
		"a link of others":      {func(p *Place) error { return os.Symlink("/bin/true", p.real("bin/a")) }, true},
		"a directory":           {func(p *Place) error { return os.Mkdir(p.real("bin/a"), 0o755) }, false},
		"a file as a directory": {func(p *Place) error { return os.WriteFile(p.real("share"), nil, 0o644) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := place(t)
			must(t, os.MkdirAll(p.real("bin"), 0o755))
			must(t, c.before(p))
			before := tree(t, p)
			if err := p.Install(set()); err == nil {
				t.Error("installed over it")
			}
			if got := tree(t, p); got != before {
				t.Errorf("before %s, after %s", before, got)
			}
			p.Force = true
			if err := p.Install(set()); (err == nil) != c.force {
				t.Errorf("by force: %v", err)
			} else if got := tree(t, p); c.force && got != whole {
				t.Errorf("by force: %s", got)
			}
		})
	}
}

func TestNeverReplaces(t *testing.T) {
	p, _ := place(t)
	p.Force = true
	must(t, os.MkdirAll(p.real("bin"), 0o755))
	must(t, os.WriteFile(p.real("bin/b"), []byte("theirs"), 0o755))
	files := set()
	files[1].NeverReplaces = true
	if err := p.Install(files); !errors.Is(err, ErrInTheWay) {
		t.Errorf("replaced by force: %v", err)
	}
	if got := tree(t, p); got != "bin/b=theirs" {
		t.Error(got)
	}
}

func TestChangedSince(t *testing.T) {
	p, _ := place(t)
	must(t, p.Install(set()))
	must(t, os.WriteFile(p.real("share/man/a.1"), []byte("mine"), 0o644))
	before := tree(t, p)
	for what, f := range map[string]func() error{
		"uninstall": p.Uninstall,
		"upgrade":   func() error { return p.Install(append(set()[:2], Bytes("share/man/a.1", []byte("new")))) },
		"dropping":  func() error { return p.Install(set()[:2]) },
	} {
		if err := f(); !errors.Is(err, ErrInTheWay) || !strings.Contains(err.Error(), "share/man/a.1 was changed since") {
			t.Errorf("%s: %v", what, err)
		}
		if got := tree(t, p); got != before {
			t.Errorf("%s: before %s, after %s", what, before, got)
		}
	}
	p.Force = true
	must(t, p.Uninstall())
	if got := tree(t, p); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestDryRun(t *testing.T) {
	p, said := place(t)
	p.DryRun = true
	must(t, p.Install(set()))
	if got := tree(t, p); got != "" || len(*said) != 3 {
		t.Errorf("there is %s, said %q", got, *said)
	}
	p.DryRun = false
	must(t, p.Install(set()))
	p.DryRun = true
	must(t, p.Uninstall())
	if got := tree(t, p); got != whole {
		t.Errorf("a dry uninstall left %s", got)
	}
}

func TestDestDir(t *testing.T) {
	p, said := place(t)
	p.DestDir, p.Prefix = filepath.Dir(p.Prefix), "/opt/c"
	must(t, p.Install(set()))
	if _, err := os.Stat(filepath.Join(p.DestDir, "opt/c/bin/a")); err != nil {
		t.Error(err)
	}
	if (*said)[0] != "install bin/a" {
		t.Errorf("said %q", *said)
	}
	must(t, p.Uninstall())
}

// TestCrash stops an upgrade between any two of its renamings: the next install
// and the next uninstall must know all that is there.
func TestCrash(t *testing.T) {
	after := []File{script("bin/a", "two"), {Path: "bin/b", Link: "c"}, Bytes("share/new", []byte("n"))}
	for _, next := range []string{"install", "uninstall"} {
		for n := range after {
			p, _ := place(t)
			must(t, p.Install(set()))
			old, err := p.readManifest()
			must(t, err)
			// What commit leaves if it is killed after the n-th renaming.
			during := manifest{Version: "2", Dirs: old.Dirs}
			for _, f := range after {
				sum, err := f.sum()
				must(t, err)
				during.Files = append(during.Files, entry{f.Path, []string{sum}})
			}
			during.Files = merge(during.Files, old.Files)
			must(t, p.writeManifest(during))
			for _, f := range after[:n] {
				s := step{file: f, change: "replace"}
				must(t, p.prepare(&s, &madeDirs{place: p}))
				must(t, os.Rename(s.temp, p.real(f.Path)))
			}
			if next == "install" {
				must(t, p.Install(after))
			}
			must(t, p.Uninstall())
			if got := tree(t, p); got != "" {
				t.Errorf("killed after %d, then %s: left %s", n, next, got)
			}
		}
	}
}

// TestFailureWhileWriting: the second file cannot be read, nothing is changed.
func TestFailureWhileWriting(t *testing.T) {
	p, _ := place(t)
	must(t, p.Install(set()))
	opened := 0
	bad := File{Path: "share/z", Mode: 0o644, Open: func() (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return nil, errors.New("torn")
		}
		return io.NopCloser(strings.NewReader("x")), nil
	}}
	if err := p.Install(append([]File{script("bin/a", "two")}, bad, set()[2])); err == nil {
		t.Error("no error")
	}
	if got := tree(t, p); got != whole {
		t.Errorf("left %s", got)
	}
}

func TestDamagedManifest(t *testing.T) {
	for _, text := range []string{"", "{", `{"format":2}`,
		`{"format":1,"files":[{"path":"../../etc/passwd","sums":["x"]}]}`,
		`{"format":1,"dirs":["/etc"]}`, `{"format":1,"dirs":["a/../.."]}`} {
		p, _ := place(t)
		must(t, os.MkdirAll(filepath.Dir(p.real(manifestPath)), 0o755))
		must(t, os.WriteFile(p.real(manifestPath), []byte(text), 0o644))
		if err := p.Uninstall(); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
		if err := p.Install(set()); err == nil {
			t.Errorf("%q: installed over it", text)
		}
	}
}
