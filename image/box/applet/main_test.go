package applet

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes the test binary the userland too, as the product is.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if _, ok := Lookup(name); ok || name == "box" {
		os.Exit(Main(os.Args))
	}
	code := m.Run()
	if farm != "" {
		os.RemoveAll(farm)
	}
	os.Exit(code)
}

var (
	farm   string
	farmMu sync.Mutex // tests run in parallel
)

// links is a directory of the test binary under every applet's name.
func links(t testing.TB) string {
	t.Helper()
	farmMu.Lock()
	defer farmMu.Unlock()
	if farm != "" {
		return farm
	}
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "applets-")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(Names(), "box") {
		if err := os.Symlink(me, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	farm = dir
	return dir
}

// outcome is what a command line did.
type outcome struct {
	out, err string
	code     int
}

func environ(path, dir string) []string {
	return []string{"PATH=" + path, "HOME=" + dir, "TZ=UTC", "LC_ALL=C", "PWD=" + dir}
}

// command is `sh -c line` with our applets, in a process of its own.
func command(t testing.TB, dir, line string, args ...string) *exec.Cmd {
	t.Helper()
	bin := links(t)
	cmd := exec.Command(filepath.Join(bin, "sh"), append([]string{"-c", line}, args...)...)
	cmd.Dir, cmd.Env = dir, environ(bin, dir)
	return cmd
}

func finish(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, errb bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errb
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() {
		t.Errorf("%q did not end", cmd.Args)
		cmd.Process.Kill()
	})
	defer timer.Stop()
	err := cmd.Wait()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatalf("%q: %v", cmd.Args, err)
	}
	return outcome{out.String(), errb.String(), waitCode(cmd, err)}
}

// run runs a command line in dir.
func run(t testing.TB, dir, line string, args ...string) outcome {
	t.Helper()
	return finish(t, command(t, dir, line, args...))
}

// fixture is a directory with things to look at.
func fixture(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, text := range map[string]string{
		"words":        "pear\napple\nfig\nApple\nbanana\nfig\n",
		"nums":         "10\n9\n-3\n2.5\n100\n9\n",
		"table":        "bob:30:x\nalice:4:y\ncarol:200:x\n",
		"spaces":       "  b  2\na 10\n c 1 \n",
		"nonl":         "one\ntwo",
		"empty":        "",
		"tabs":         "a\tb\tc\n1\t2\t3\n",
		"d/a":          "in a\n",
		"d/sub/b.txt":  "text of b\n",
		"d/sub/.dot":   "hidden\n",
		"d/e/x y.txt":  "blank in the name\n",
		"bin":          "\x00\x01\x7f\x80\xff\nabc\r\n",
		"script":       "#!/bin/sh\necho ran\n",
		"sizes":        "1K\n2M\n512\n1G\n",
		"versions":     "v1.10\nv1.9\nv1.2.3\n",
		"sorted":       "a\nb\nc\n",
		"twenty.lines": strings.Join(strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"), "\n") + "\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "script"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("words", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"d", "d/sub", "d/e"} {
		if err := os.Chtimes(filepath.Join(dir, d), old, old); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
