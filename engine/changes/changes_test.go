package changes

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/internal/sys"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

func openDir(t *testing.T, path string) int {
	t.Helper()
	fd, err := sys.OpenDirat(unix.AT_FDCWD, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestWay: links are of the root's own world.
func TestWay(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/a/b/file", "")
	for link, to := range map[string]string{
		"abs": "/a", "up": "../../../../../a/b", "loop": "loop", "a/back": "..", "a/host": root, "tofile": "/a/b/file", "slash": "/a/b/file/",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path   string
		follow bool
		want   string // where it ends
		err    error
	}{
		{"/", false, "/.", nil},
		{"a/b/file", false, "/a/b/file", nil},
		{"/abs", false, "/abs", nil},
		{"/abs", true, "/a/.", nil},
		{"/abs/", false, "/a/.", nil},
		{"/abs/.", false, "/a/.", nil},
		{"/abs/b", false, "/a/b/.", nil},
		{"/up/file", false, "/a/b/file", nil},
		{"/up/../../../..", false, "/.", nil},
		{"/a/back/a/back/a", false, "/a/.", nil},
		{"/tofile", true, "/a/b/file", nil},
		{"/tofile/", true, "", unix.ENOTDIR},
		{"/slash", true, "", unix.ENOTDIR},
		{"/a/b/file/x", false, "", unix.ENOTDIR},
		{"/none", false, "/none", nil},
		{"/none/", false, "", unix.ENOENT},
		{"/none/x", false, "", unix.ENOENT},
		{"/loop/x", false, "", unix.ELOOP},
		{"/loop", true, "", unix.ELOOP},
		{"/a/host/etc", false, "", unix.ENOENT},
	} {
		w, err := begin(openDir(t, root))
		if err != nil {
			t.Fatal(err)
		}
		base, err := w.find(c.path, c.follow)
		got := strings.TrimSuffix(w.path(), "/") + "/" + base
		if err != nil {
			got = ""
		}
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("find(%q, %v) = %q, %v; want %q, %v", c.path, c.follow, got, err, c.want, c.err)
		}
		w.close()
	}
}

// TestWaySwapped: a container that changes a directory for a link to the host's
// while we walk never has us outside.
func TestWaySwapped(t *testing.T) {
	outer := t.TempDir()
	root := outer + "/root"
	write(t, root+"/in/etc/secret", "theirs")
	write(t, outer+"/etc/secret", "the host's")
	if err := os.Symlink(outer, root+"/link"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, root+"/in", unix.AT_FDCWD, root+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	fd := openDir(t, root)
	seen := 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		w, err := begin(fd)
		if err != nil {
			t.Fatal(err)
		}
		if base, err := w.find("/in/etc/secret", true); err == nil {
			if f, err := openFile(w.top(), base); err == nil {
				data, _ := io.ReadAll(f)
				f.Close()
				if seen++; string(data) != "theirs" {
					t.Fatalf("read %q", data)
				}
			}
		}
		w.close()
	}
	close(stop)
	<-done
	if seen == 0 {
		t.Error("the file was never found")
	}
}

func archive(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(make([]byte, h.Size))
	}
	w.Close()
	return buf.Bytes()
}

// TestUnpackRefuses: nothing of a hostile tar lands beside the directory, and a
// directory gives way to nothing else.
func TestUnpackRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		entries []tar.Header
		links   bool
		want    string
	}{
		"dots":             {[]tar.Header{{Name: "../x", Typeflag: tar.TypeReg}}, true, "leads out"},
		"dots inside":      {[]tar.Header{{Name: "a/../../x", Typeflag: tar.TypeReg}}, true, "leads out"},
		"link to dots":     {[]tar.Header{{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../secret"}}, true, "leads out"},
		"through a link":   {[]tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, {Name: "l/x", Typeflag: tar.TypeReg}}, false, "not a directory"},
		"through one here": {[]tar.Header{{Name: "here/x", Typeflag: tar.TypeReg}}, false, "not a directory"},
		"file over dir":    {[]tar.Header{{Name: "dir", Typeflag: tar.TypeReg}}, true, "cannot overwrite directory"},
		"dir over file":    {[]tar.Header{{Name: "file/", Typeflag: tar.TypeDir}}, true, "cannot overwrite non-directory"},
		"unknown type":     {[]tar.Header{{Name: "x", Typeflag: 'M'}}, true, "unknown type"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			write(t, outer+"/root/dest/dir/old", "")
			write(t, outer+"/root/dest/file", "")
			os.Symlink("../..", outer+"/root/dest/here")
			u := &unpacker{ctx: context.Background(), root: openDir(t, outer+"/root"), dest: "/dest", links: c.links, warn: func(string) {}}
			err := u.unpack(bytes.NewReader(archive(t, c.entries...)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if list, _ := os.ReadDir(outer); len(list) != 1 {
				t.Errorf("beside the root: %v", list)
			}
			if list, _ := os.ReadDir(outer + "/root"); len(list) != 1 {
				t.Errorf("beside the directory: %v", list)
			}
		})
	}
	// A link of the container's own, within its root.
	outer := t.TempDir()
	write(t, outer+"/root/dest/file", "")
	os.Symlink("/../../elsewhere", outer+"/root/dest/l")
	os.Mkdir(outer+"/root/elsewhere", 0o755)
	u := &unpacker{ctx: context.Background(), root: openDir(t, outer+"/root"), dest: "/dest", links: true, warn: func(string) {}}
	if err := u.unpack(bytes.NewReader(archive(t, tar.Header{Name: "l/x", Typeflag: tar.TypeReg, Size: 9000}))); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(outer + "/root/elsewhere/x"); err != nil || st.Size() != 9000 {
		t.Errorf("%v, %v", st, err)
	}
}

// TestUnpackWhole: a file that does not come to its end leaves what was there.
func TestUnpackWhole(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "old")
	data := archive(t, tar.Header{Name: "file", Typeflag: tar.TypeReg, Size: 90000}, tar.Header{Name: "new", Typeflag: tar.TypeReg, Size: 90000})
	for _, size := range []int{50000, 150000} {
		u := &unpacker{ctx: context.Background(), root: openDir(t, dir), dest: "/", links: true, warn: func(string) {}}
		if err := u.unpack(bytes.NewReader(data[:size])); err == nil {
			t.Error("it was cut short, and nothing said so")
		}
		want := int64(3)
		if size > 90000 {
			want = 90000
		}
		if st, err := os.Stat(dir + "/file"); err != nil || st.Size() != want {
			t.Errorf("%v, %v, want %d bytes", st, err, want)
		}
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("left behind: %v", list)
		}
	}
}

// TestRoundTrip packs a tree and unpacks it again: what a tar holds comes back,
// and what would block or act when opened is not opened.
func TestRoundTrip(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	long := strings.Repeat("a", 150) + "/" + strings.Repeat("b", 149)
	write(t, src+"/"+long, "long")
	write(t, src+"/one", "linked")
	os.Link(src+"/one", src+"/two")
	os.Symlink("../../../nowhere", src+"/dangling")
	if err := unix.Mkfifo(src+"/fifo", 0o640); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: src + "/sock"}); err != nil {
		t.Fatal(err)
	}
	write(t, src+"/hole", "")
	os.Truncate(src+"/hole", 8<<20)
	unix.Chmod(src+"/hole", 0o4711)
	when := time.Unix(1234567890, 987654321)
	os.Chtimes(src+"/hole", when, when)
	os.Chtimes(src, when, when)

	var buf bytes.Buffer
	if err := newPacker(context.Background(), &buf).path(openDir(t, src), ".", "top", src); err != nil {
		t.Fatal(err)
	}
	u := &unpacker{ctx: context.Background(), root: openDir(t, dst), old: "top", name: "new", warn: func(string) {}}
	if err := u.unpack(&buf); err != nil {
		t.Fatal(err)
	}
	dst += "/new"
	if data, err := os.ReadFile(dst + "/" + long); string(data) != "long" {
		t.Error(err)
	}
	a, _ := os.Stat(dst + "/one")
	if b, err := os.Stat(dst + "/two"); err != nil || !os.SameFile(a, b) {
		t.Errorf("hard link: %v", err)
	}
	if to, err := os.Readlink(dst + "/dangling"); to != "../../../nowhere" {
		t.Errorf("%q %v", to, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dst+"/fifo", &st); err != nil || st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("fifo: %o %v", st.Mode, err)
	}
	if _, err := os.Lstat(dst + "/sock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket: %v", err)
	}
	if err := unix.Stat(dst+"/hole", &st); err != nil || st.Mode&0o7777 != 0o4711 || st.Size != 8<<20 || st.Blocks > 64 || st.Mtim.Nsec != 987654321 {
		t.Errorf("hole: %+v %v", st, err)
	}
	if up, err := os.Stat(dst); err != nil || !up.ModTime().Equal(when) {
		t.Errorf("time of the directory: %v", up.ModTime())
	}
}

// TestCompare: of a flat tree, what is a change and what is none.
func TestCompare(t *testing.T) {
	old, now := t.TempDir(), t.TempDir()
	when := time.Unix(1600000000, 5)
	for _, dir := range []string{old, now} {
		for _, name := range []string{"same", "touched", "forged", "gone", "sub/deep", "sub/same"} {
			write(t, dir+"/"+name, "text")
			os.Chtimes(dir+"/"+name, when, when)
		}
	}
	var st unix.Stat_t
	made := func() unix.Timespec {
		if err := unix.Stat(now+"/sub/same", &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim
	}()
	time.Sleep(20 * time.Millisecond) // the clock of inodes ticks every 10 ms
	os.Chtimes(now+"/touched", time.Now(), time.Now())
	write(t, now+"/forged", "TEXT")
	os.Chtimes(now+"/forged", when, when)
	os.Remove(now + "/gone")
	os.Chmod(now+"/sub/deep", 0o600)
	write(t, now+"/new/in", "")
	os.Mkdir(now+"/proc", 0o755)
	got := ""
	w := &walker{ctx: context.Background(), union: union{kind: "flat"}, made: made}
	w.tell = func(kind container.ChangeType, path string, _ *node) error {
		got += kind.String() + path + " "
		return nil
	}
	if err := w.walk("", []dir{{openDir(t, old), 0}}, []dir{{openDir(t, now), 0}}); err != nil {
		t.Fatal(err)
	}
	if want := "C/forged D/gone A/new A/new/in C/sub C/sub/deep C/touched "; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestEntrypointTakesCommand: Docker's way of putting changes and a container together.
func TestEntrypointTakesCommand(t *testing.T) {
	for _, c := range []struct{ lines, entrypoint, cmd string }{
		{"", "[old]", "[arg]"},
		{`CMD ["new"]`, "[old]", "[new]"},
		{`ENTRYPOINT ["e"]`, "[e]", "[]"},
		{"CMD [\"new\"]\nENTRYPOINT [\"e\"]", "[e]", "[new]"},
		{"ENTRYPOINT []", "[]", "[arg]"},
		{"CMD []", "[old]", "[arg]"},
	} {
		config := dockerspec.DockerOCIImageConfig{}
		config.Entrypoint, config.Cmd = []string{"old"}, []string{"arg"}
		if err := changed(&config, strings.FieldsFunc(c.lines, func(r rune) bool { return r == '\n' })); err != nil {
			t.Error(err)
		}
		if e, cmd := fmt.Sprint(config.Entrypoint), fmt.Sprint(config.Cmd); e != c.entrypoint || cmd != c.cmd {
			t.Errorf("%q: %s %s", c.lines, e, cmd)
		}
	}
}
