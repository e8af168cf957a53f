// Package snaptest is the conformance suite of snapshot drivers. A driver's own
// tests call Run for each filesystem and user, and Main in TestMain.
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
	"sync"
	"testing"

	"coracle/fs/snapshot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Config says what to test.
type Config struct {
	// New makes the driver in a directory.
	New func(dir string) (snapshot.Driver, error)
	// Dir is on the filesystem to test on.
	Dir string
	// CanMount: this process may mount. Without, only drivers with a plain
	// directory can be looked into.
	CanMount bool
	// Squash: files belong to the caller whatever the archive says.
	Squash bool
}

// Run runs the suite.
func Run(t *testing.T, c Config) {
	t.Run("lifecycle", c.lifecycle)
	t.Run("contents", c.contents)
	t.Run("private", c.private)
	t.Run("empty root", c.emptyRoot)
	t.Run("refusals", c.refusals)
	t.Run("broken stream", c.brokenStream)
	t.Run("concurrent", c.concurrent)
	t.Run("check", c.checks)
	t.Run("many layers", c.manyLayers)
	t.Run("killed", c.killed)
	t.Run("no space", c.noSpace)
}

func (c *Config) driver(t testing.TB) (snapshot.Driver, string) {
	t.Helper()
	dir, err := os.MkdirTemp(c.Dir, "driver-")
	if err != nil {
		t.Fatal(err)
	}
	// The removal is checked: whatever a driver leaves must be removable.
	t.Cleanup(func() {
		if err := removeAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return c.open(t, dir), dir
}

func (c *Config) open(t testing.TB, dir string) snapshot.Driver {
	t.Helper()
	d, err := c.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tree is a directory in which snapshot id can be seen.
func (c *Config) tree(t testing.TB, d snapshot.Driver, id string) string {
	t.Helper()
	if dir := d.Dir(id); dir != "" {
		return dir
	}
	return c.mount(t, d.Mounts, id)
}

func (c *Config) mount(t testing.TB, f func(string) ([]specs.Mount, error), name string) string {
	t.Helper()
	m, err := f(name)
	if err != nil {
		t.Fatal(err)
	}
	if !c.CanMount {
		t.Skip("missing feature: mount(2) as an ordinary user")
	}
	return Mount(t, m)
}

// sample has one of everything in its base, and two layers that change it.
func sample(t testing.TB) *Image {
	return NewImage(
		Tar(t,
			Entry{Name: "./", Mode: 0o751},
			Entry{Name: "bin/"}, Entry{Name: "bin/tool", Body: "v1", Mode: 0o4755},
			Entry{Name: "bin/alias", Type: '1', Link: "bin/tool"},
			Entry{Name: "etc/"}, Entry{Name: "etc/kept", Body: "kept"}, Entry{Name: "etc/gone", Body: "gone"},
			Entry{Name: "etc/owned", Body: "x", UID: 70000, GID: 123456},
			Entry{Name: "lib", Type: '2', Link: "usr/lib"}, Entry{Name: "usr/lib/"}, Entry{Name: "usr/lib/so", Body: "so"},
			Entry{Name: "old/"}, Entry{Name: "old/a", Body: "a"}, Entry{Name: "old/deep/"}, Entry{Name: "old/deep/b", Body: "b"},
			Entry{Name: "dir/"}, Entry{Name: "dir/x", Body: "x"}, Entry{Name: "file", Body: "file"},
			Entry{Name: "shut/", Mode: 0o555}, Entry{Name: "shut/in", Body: "in"},
			Entry{Name: "pipe", Type: '6'}, Entry{Name: "secret", Body: "s", Mode: 0o400},
		),
		Tar(t,
			Entry{Name: "bin/"}, Entry{Name: "bin/tool", Body: "v2", Mode: 0o755},
			Entry{Name: "etc/"}, Entry{Name: "etc/.wh.gone"},
			Entry{Name: "old/"}, Entry{Name: "old/.wh..wh..opq"}, Entry{Name: "old/new", Body: "new"},
			Entry{Name: "dir", Body: "now a file"}, Entry{Name: "file/"}, Entry{Name: "file/y", Body: "y"},
			Entry{Name: "shut/", Mode: 0o555}, Entry{Name: "shut/more", Body: "more"},
		),
		Tar(t, Entry{Name: "top", Body: strings.Repeat("top", 100000)}, Entry{Name: ".wh.pipe"}),
	)
}

func unpack(t testing.TB, d snapshot.Driver, img *Image) {
	t.Helper()
	if err := d.Unpack(context.Background(), img.Layers); err != nil {
		t.Fatalf("unpack: %v", err)
	}
}

func create(t testing.TB, d snapshot.Driver, id, chain string) {
	t.Helper()
	if err := d.Create(context.Background(), id, chain); err != nil {
		t.Fatalf("create %s: %v", id, err)
	}
}

func (c *Config) lifecycle(t *testing.T) {
	ctx := context.Background()
	d, dir := c.driver(t)
	img := sample(t)
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("New alone made %v", entries)
	}
	if err := d.Clean(ctx); err != nil {
		t.Errorf("clean of nothing: %v", err)
	}
	if d.Has(img.Top()) {
		t.Error("has a layer that was never unpacked")
	}
	expectNames(t, d.Layers)
	unpack(t, d, img)
	if !d.Has(img.Top()) {
		t.Error("has not what was unpacked")
	}
	n := img.Opened.Load()
	unpack(t, c.open(t, dir), img)
	if img.Opened.Load() != n {
		t.Error("unpacked again what is there")
	}
	create(t, d, "one", img.Top())
	create(t, d, "two", img.Top())
	expectNames(t, d.Snapshots, "one", "two")
	if err := d.Create(ctx, "one", img.Top()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create twice: %v", err)
	}
	if err := d.RemoveLayer(ctx, img.Top()); !errors.Is(err, snapshot.ErrInUse) {
		t.Errorf("remove a layer in use: %v", err)
	}
	for _, id := range []string{"one", "two", "two", "never"} {
		if err := d.Remove(ctx, id); err != nil {
			t.Errorf("remove %s: %v", id, err)
		}
	}
	expectNames(t, d.Snapshots)
	layers, err := d.Layers()
	if err != nil || !slices.Contains(layers, img.Top()) {
		t.Fatalf("layers %v, %v: without the top", layers, err)
	}
	for i := len(img.Layers) - 1; i >= 0; i-- {
		if err := d.RemoveLayer(ctx, img.Layers[i].ChainID); err != nil {
			t.Errorf("remove layer %d: %v", i, err)
		}
	}
	expectNames(t, d.Layers)
	expectClean(t, dir)
}

func expectNames(t *testing.T, f func() ([]string, error), want ...string) {
	t.Helper()
	got, err := f()
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// expectClean fails when the driver left anything but empty directories.
func expectClean(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		} else if !e.IsDir() || strings.Contains(path, "/tmp/") && filepath.Base(filepath.Dir(path)) == "tmp" && strings.HasPrefix(path, dir) && e.Name() != "tmp" {
			t.Errorf("left: %s", path)
		}
		return nil
	})
}

func (c *Config) private(t *testing.T) {
	d, _ := c.driver(t)
	img := sample(t)
	unpack(t, d, img)
	create(t, d, "one", img.Top())
	create(t, d, "two", img.Top())
	one, two := c.tree(t, d, "one"), c.tree(t, d, "two")
	if n, err := d.Usage("one"); err != nil || n != 0 {
		t.Errorf("usage %d of what was just made, %v", n, err)
	}
	write(t, filepath.Join(one, "etc/kept"), "changed")
	write(t, filepath.Join(one, "big"), strings.Repeat("x", 1<<20))
	if err := os.Remove(filepath.Join(one, "old/new")); err != nil {
		t.Error(err)
	}
	expectFile(t, two, "etc/kept", "kept")
	expectFile(t, two, "old/new", "new")
	expectFile(t, two, "big", "")
	if n, err := d.Usage("one"); err != nil || n < 1<<20 || n > 1<<20+4<<10 {
		t.Errorf("usage %d where 1 MiB came, %v", n, err)
	}
	if !c.CanMount {
		return
	}
	view := c.mount(t, d.View, img.Top())
	expectFile(t, view, "etc/kept", "kept")
	expectFile(t, view, "etc/gone", "")
	if err := os.WriteFile(filepath.Join(view, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a view: %v", err)
	}
}

func (c *Config) emptyRoot(t *testing.T) {
	d, _ := c.driver(t)
	create(t, d, "empty", "")
	dir := c.tree(t, d, "empty")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("empty root: %v, %v", entries, err)
	}
	write(t, filepath.Join(dir, "f"), "f")
}

func (c *Config) refusals(t *testing.T) {
	ctx := context.Background()
	d, dir := c.driver(t)
	for _, id := range []string{"", "..", ".", "a/b", "tmp", "lock", "../x"} {
		if err := d.Create(ctx, id, ""); err == nil {
			t.Errorf("created %q", id)
		}
	}
	if err := d.Create(ctx, "x", digest([]byte("absent"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create on an absent layer: %v", err)
	}
	if _, err := d.Mounts("absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mounts of an absent snapshot: %v", err)
	}
	if _, err := d.View(digest([]byte("absent"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("view of an absent layer: %v", err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.Unpack(done, sample(t).Layers); !errors.Is(err, context.Canceled) {
		t.Errorf("unpack, cancelled: %v", err)
	}
	expectNames(t, d.Snapshots)
	expectNames(t, d.Layers)
	expectClean(t, dir)
}

// brokenStream fails at the very end, as a wrong digest does.
func (c *Config) brokenStream(t *testing.T) {
	d, dir := c.driver(t)
	img := sample(t)
	broken := errors.New("digest is wrong")
	last := &img.Layers[len(img.Layers)-1]
	open := last.Open
	last.Open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		return io.NopCloser(io.MultiReader(r, failing{broken})), err
	}
	if err := d.Unpack(context.Background(), img.Layers); !errors.Is(err, broken) {
		t.Fatalf("unpack: %v", err)
	}
	if d.Has(img.Top()) {
		t.Error("a broken layer is there")
	}
	expectClean(t, dir)
	last.Open = open
	unpack(t, d, img)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (c *Config) concurrent(t *testing.T) {
	d, dir := c.driver(t)
	img, other := sample(t), sample(t)
	other.Layers = append(slices.Clone(img.Layers[:2]), NewImage(Tar(t, Entry{Name: "other"})).Layers...)
	other.Layers[2].ChainID = digest([]byte("other"))
	var wg sync.WaitGroup
	for i := range 8 {
		d, layers := c.open(t, dir), img.Layers
		if i%2 == 1 {
			layers = other.Layers
		}
		wg.Go(func() {
			if err := d.Unpack(context.Background(), layers); err != nil {
				t.Errorf("unpack: %v", err)
			}
			if err := d.Create(context.Background(), string(rune('a'+i)), layers[2].ChainID); err != nil {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	if n := img.Opened.Load(); n > 5 {
		t.Errorf("layers were opened %d times", n)
	}
	expectNames(t, d.Snapshots, "a", "b", "c", "d", "e", "f", "g", "h")
}

func (c *Config) manyLayers(t *testing.T) {
	d, _ := c.driver(t)
	var tars [][]byte
	for i := range 128 {
		tars = append(tars, Tar(t, Entry{Name: "f", Body: string(rune('A' + i))}, Entry{Name: "g" + string(rune('A'+i))}))
	}
	img := NewImage(tars...)
	unpack(t, d, img)
	id := strings.Repeat("0123456789abcdef", 4)
	create(t, d, id, img.Top())
	dir := c.tree(t, d, id)
	expectFile(t, dir, "f", string(rune('A'+127)))
	if entries, _ := os.ReadDir(dir); len(entries) != 129 {
		t.Errorf("%d entries of 129", len(entries))
	}
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		t.Error(err)
	}
}

// expectFile compares a file's contents; "" means that it is absent.
func expectFile(t testing.TB, dir, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, name))
	switch {
	case want == "" && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
		t.Errorf("%s is there: %v", name, err)
	case want != "" && (err != nil || string(got) != want):
		t.Errorf("%s: %.40q, %v; want %.40q", name, got, err, want)
	}
}
