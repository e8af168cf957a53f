package snaptest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coracle/fs/snapshot"
)

// checks damages what was unpacked in several ways: Check tells of each, and mends
// it under a container that stands on it.
func (c *Config) checks(t *testing.T) {
	ctx := context.Background()
	d, dir := c.driver(t)
	img := sample(t)
	if found, err := d.Check(ctx, img.Layers, false); err != nil || len(found) > 0 {
		t.Errorf("nothing is there: %v, %v", found, err)
	}
	unpack(t, d, img)
	create(t, d, "one", img.Top())
	for range 2 {
		if found, err := d.Check(ctx, img.Layers, false); err != nil || len(found) > 0 {
			t.Fatalf("nothing is wrong: %v, %v", found, err)
		}
	}
	want := damage(t, dir)
	for _, mend := range []bool{false, true} {
		found, err := d.Check(ctx, img.Layers, mend)
		if err != nil {
			t.Fatal(err)
		}
		for path, what := range want {
			if !slices.ContainsFunc(found, func(f snapshot.Damage) bool { return f.Path == path && strings.Contains(f.What, what) }) {
				t.Errorf("mend=%v: %s is not said to be damaged (%s): %v", mend, path, what, found)
			}
		}
		if marked := slices.ContainsFunc(img.Layers, func(l snapshot.Layer) bool { return d.Damaged(l.ChainID) }); marked == mend {
			t.Errorf("mend=%v: marked %v", mend, marked)
		}
	}
	if found, err := d.Check(ctx, img.Layers, false); err != nil || len(found) > 0 {
		t.Errorf("mended: %v, %v", found, err)
	}
	create(t, d, "two", img.Top())
	tree := c.tree(t, d, "two")
	for name, body := range map[string]string{"etc/kept": "kept", "lib/so": "so", "usr/lib/more": "", "shut/in": "in"} {
		expectFile(t, tree, name, body)
	}
	// A stream that does not keep what its digest promises damages nothing.
	bad := slices.Clone(img.Layers)
	open := bad[0].Open
	bad[0].Open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		return io.NopCloser(io.MultiReader(r, failing{errors.New("digest is wrong")})), err
	}
	if _, err := d.Check(ctx, bad, true); err == nil {
		t.Error("a broken stream went unnoticed")
	}
	if found, err := d.Check(ctx, img.Layers, false); err != nil || len(found) > 0 {
		t.Errorf("after a broken stream: %v, %v", found, err)
	}
	for _, id := range []string{"one", "two"} {
		if err := d.Remove(ctx, id); err != nil {
			t.Error(err)
		}
	}
	if n, err := d.LayerUsage(img.Top()); err != nil || n < 1000 {
		t.Errorf("usage %d, %v", n, err)
	}
}

// damage spoils the unpacked files of the sample image, and tells which paths are
// to be found.
func damage(t *testing.T, dir string) map[string]string {
	t.Helper()
	find := func(name string) (all []string) {
		filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, "/"+name) && !strings.Contains(path, "/snapshots/") {
				all = append(all, path)
			}
			return nil
		})
		if len(all) == 0 {
			t.Fatalf("no %s below %s", name, dir)
		}
		return all
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range find("etc/kept") { // same length, same time
		check(os.WriteFile(path, []byte("kePt"), 0o644))
		check(os.Chtimes(path, Epoch(), Epoch()))
	}
	for _, path := range find("usr/lib/so") {
		check(os.Remove(path))
		check(os.WriteFile(filepath.Join(filepath.Dir(path), "more"), []byte("x"), 0o644))
	}
	for _, path := range find("old/new") {
		check(os.Chmod(path, 0o666))
	}
	for _, path := range find("file/y") {
		check(os.Remove(path))
		check(os.Mkdir(path, 0o755))
	}
	for _, path := range find("usr") {
		check(os.Chmod(path, 0o700))
	}
	return map[string]string{"/etc/kept": "contents", "/usr/lib/so": "missing", "/usr/lib/more": "should not",
		"/old/new": "mode", "/file/y": "kind", "/usr": "mode"}
}
