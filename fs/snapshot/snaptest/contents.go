package snaptest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/fs/snapshot"
	"coracle/fs/tree"

	"golang.org/x/sys/unix"
)

func removeAll(dir string) error { return tree.Remove(context.Background(), dir) }

// contents compares the tree of the sample image with what it should be.
func (c *Config) contents(t *testing.T) {
	d, _ := c.driver(t)
	img := sample(t)
	unpack(t, d, img)
	create(t, d, "one", img.Top())
	dir := c.tree(t, d, "one")
	for name, want := range map[string]string{
		"bin/tool": "v2", "bin/alias": "v1", "etc/kept": "kept", "etc/gone": "", "lib/so": "so",
		"old/a": "", "old/deep/b": "", "old/new": "new", "dir": "now a file", "file/y": "y",
		"shut/in": "in", "shut/more": "more", "top": strings.Repeat("top", 100000), "pipe": "", "secret": "s",
		"etc/.wh.gone": "", ".wh.pipe": "",
	} {
		expectFile(t, dir, name, want)
	}
	for name, want := range map[string]uint32{
		".": unix.S_IFDIR | 0o751, "bin/tool": unix.S_IFREG | 0o755, "bin/alias": unix.S_IFREG | 0o4755,
		"shut": unix.S_IFDIR | 0o555, "lib": unix.S_IFLNK | 0o777, "secret": unix.S_IFREG | 0o400,
	} {
		if st := lstat(t, dir, name); st.Mode != want {
			t.Errorf("%s: mode %o, want %o", name, st.Mode, want)
		}
	}
	for _, name := range []string{"bin", "bin/tool", "bin/alias", "shut", "shut/in", "lib", "usr/lib", "old", "file"} {
		st := lstat(t, dir, name)
		if e := Epoch(); st.Mtim.Nano() != e.UnixNano() {
			t.Errorf("%s: changed at %d, want %d", name, st.Mtim.Nano(), e.UnixNano())
		}
	}
	if !c.Squash {
		if st := lstat(t, dir, "etc/owned"); st.Uid != 70000 || st.Gid != 123456 {
			t.Errorf("etc/owned: %d:%d", st.Uid, st.Gid)
		}
	}
}

func lstat(t testing.TB, dir, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return st
}

// noSpace fills a small filesystem up in the middle of everything.
func (c *Config) noSpace(t *testing.T) {
	if !c.CanMount {
		t.Skip("missing feature: mount(2) as an ordinary user")
	}
	small := Config{New: c.New, Dir: Tmpfs(t, "size=2m"), CanMount: true, Squash: c.Squash}
	d, dir := small.driver(t)
	fits := NewImage(Tar(t, Entry{Name: "a", Body: strings.Repeat("a", 900<<10)}))
	large := NewImage(Tar(t, Entry{Name: "a", Body: "a"}), Tar(t, Entry{Name: "b", Body: strings.Repeat("b", 4<<20)}))
	if err := d.Unpack(context.Background(), large.Layers); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("unpack on a full disk: %v", err)
	}
	expectNames(t, d.Layers)
	expectClean(t, dir)
	unpack(t, d, fits)
	for i := range 3 {
		err := d.Create(context.Background(), string(rune('a'+i)), fits.Top())
		if err == nil {
			continue
		}
		if errors.Is(err, snapshot.ErrUnsupported) {
			return // a tmpfs shares no data
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("create on a full disk: %v", err)
		}
		names, _ := d.Snapshots()
		if len(names) != i {
			t.Errorf("snapshots %v", names)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", "tmp", "*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		return
	}
}

// Scratch is a directory on the filesystem for temporary files that user uid
// may write to.
func Scratch(t testing.TB, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "snaptest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(dir) })
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}
