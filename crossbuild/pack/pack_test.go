package pack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPackageVersion: dpkg takes each for a version and sorts them as listed.
func TestPackageVersion(t *testing.T) {
	last := ""
	for _, c := range []struct{ describe, want string }{
		{"128aa4c", "0~20231114.128aa4c"},
		{"128aa4c-dirty", "0~20231114.128aa4c+dirty"},
		{"v0.1.0", "0.1.0"},
		{"v0.1.0-3-gabcdef0", "0.1.0+3+gabcdef0"},
		{"v0.1.0-12-gabcdef0-dirty", "0.1.0+12+gabcdef0+dirty"},
		{"1.0", "1.0"},
	} {
		got := packageVersion(c.describe, "20231114")
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.describe, got, c.want)
		}
		if _, err := exec.LookPath("dpkg"); err == nil && last != "" {
			if err := exec.Command("dpkg", "--compare-versions", last, "lt", got).Run(); err != nil {
				t.Errorf("%s is not before %s: %v", last, got, err)
			}
		}
		last = got
	}
}

// TestTarIsTheSame whatever the files' own times, owners and modes are.
func TestTarIsTheSame(t *testing.T) {
	var made [2]bytes.Buffer
	for i := range made {
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, []byte("x"), 0o600|os.FileMode(i)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Unix(int64(i), 0), time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
		if err := writeTar(&made[i], []file{{"d/f", name, 0o644}}, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0].Bytes(), made[1].Bytes()) {
		t.Error("two archives of the same content differ")
	}
}

// TestFailedFileIsAbsent: what could not be written leaves neither half nor part.
func TestFailedFileIsAbsent(t *testing.T) {
	dir := t.TempDir()
	err := writeFile(filepath.Join(dir, "f"), func(w *os.File) error {
		w.WriteString("half")
		return os.ErrClosed
	})
	if left, _ := os.ReadDir(dir); err == nil || len(left) > 0 {
		t.Errorf("%v, left %v", err, left)
	}
}
