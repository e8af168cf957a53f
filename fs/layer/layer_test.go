package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/fs/snapshot/snaptest"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func apply(t *testing.T, root string, opt Options, entries ...entry) Stats {
	t.Helper()
	stats, err := Apply(context.Background(), bytes.NewReader(snaptest.Tar(t, entries...)), root, opt)
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func expect(t *testing.T, root string, want map[string]string) {
	t.Helper()
	for name, body := range want {
		got, err := os.ReadFile(filepath.Join(root, name))
		if body == "" {
			if err == nil {
				t.Errorf("%s is there", name)
			}
			continue
		}
		if err != nil || string(got) != body {
			t.Errorf("%s: %q, %v; want %q", name, got, err, body)
		}
	}
}

func TestFlatWhiteoutsSpareTheirOwnLayer(t *testing.T) {
	_, root := surroundings(t)
	opt := options(Flat)
	apply(t, root, opt, entry{Name: "d/low", Body: "low"}, entry{Name: "d/sub/low", Body: "low"}, entry{Name: "e/low", Body: "low"}, entry{Name: "f", Body: "low"})
	apply(t, root, opt,
		entry{Name: "d/new", Body: "new"}, entry{Name: "d/sub/new", Body: "new"}, entry{Name: "d/.wh..wh..opq"},
		entry{Name: "e/new", Body: "new"}, entry{Name: ".wh.e"},
		entry{Name: "f", Body: "new"}, entry{Name: ".wh.f"})
	expect(t, root, map[string]string{
		"d/low": "", "d/sub/low": "", "d/new": "new", "d/sub/new": "new", "e/low": "", "e/new": "new", "f": "new",
	})
}

func TestOverlayWhiteouts(t *testing.T) {
	_, root := surroundings(t)
	opt := options(Overlay)
	opt.UserXattr = os.Geteuid() != 0
	attr := "trusted.overlay.opaque"
	if opt.UserXattr {
		attr = "user.overlay.opaque"
	}
	apply(t, root, opt,
		entry{Name: ".wh.gone"},
		entry{Name: ".wh.dir"}, entry{Name: "dir/"}, entry{Name: "dir/f", Body: "f"},
		entry{Name: ".wh.implicit"}, entry{Name: "implicit/f", Body: "f"},
		entry{Name: "before/"}, entry{Name: ".wh.before"},
		entry{Name: "opq/.wh..wh..opq"}, entry{Name: "plain/"},
		entry{Name: ".wh.file"}, entry{Name: "file", Body: "f"},
		entry{Name: ".wh.twice"}, entry{Name: ".wh.twice"})
	for name, want := range map[string]string{"dir": "y", "implicit": "y", "before": "y", "opq": "y", "plain": ""} {
		fd, err := sys.OpenDirat(unix.AT_FDCWD, filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		v, _ := sys.Fgetxattr(fd, attr)
		unix.Close(fd)
		if string(v) != want {
			t.Errorf("%s: opaque is %q, want %q", name, v, want)
		}
	}
	for _, name := range []string{"gone", "twice"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
			t.Errorf("%s: mode %o, device %d, %v", name, st.Mode, st.Rdev, err)
		}
	}
	expect(t, root, map[string]string{"file": "f", "dir/f": "f", "implicit/f": "f"})
}

func TestAUFSWhiteouts(t *testing.T) {
	_, root := surroundings(t)
	apply(t, root, options(AUFS),
		entry{Name: ".wh.gone"}, entry{Name: ".wh.dir"}, entry{Name: "dir/f", Body: "f"},
		entry{Name: ".wh.file"}, entry{Name: "file", Body: "f"}, entry{Name: "opq/.wh..wh..opq"})
	for name, want := range map[string]bool{".wh.gone": true, ".wh.dir": false, "dir/.wh..wh..opq": true, ".wh.file": false, "opq/.wh..wh..opq": true} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
}

func TestMaxBytes(t *testing.T) {
	for name, data := range map[string][]byte{
		"one file":   snaptest.Tar(t, entry{Name: "f", Body: strings.Repeat("x", 100000)}),
		"many files": snaptest.Tar(t, make100()...),
		"padding":    append(snaptest.Tar(t, entry{Name: "f"}), make([]byte, 100000)...),
		"sparse":     sparseTar(t, "1T"),
	} {
		t.Run(name, func(t *testing.T) {
			if data == nil {
				t.Skip("GNU tar is missing")
			}
			_, root := surroundings(t)
			opt := options(Flat)
			opt.MaxBytes = 50000
			_, err := Apply(context.Background(), bytes.NewReader(data), root, opt)
			var large *TooLargeError
			if !errors.Is(err, ErrTooLarge) || !errors.As(err, &large) || large.Limit != 50000 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func make100() []entry {
	var all []entry
	for i := range 100 {
		all = append(all, entry{Name: "f" + strings.Repeat("x", i)})
	}
	return all
}

// sparseTar has GNU tar make an archive of a file that is all hole but its end.
func sparseTar(t *testing.T, size string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := exec.Command("truncate", "-s", size, dir+"/hole").Run(); err != nil {
		return nil
	}
	f, err := os.OpenFile(dir+"/hole", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("end")
	f.Close()
	// Where tar finds no holes by seeking it reads all of the file: bounded by
	// the test's context, and by asking for seeking.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "tar", append([]string{"-C", dir, "-S", "--hole-detection=seek", "-c"}, append(args, "hole")...)...).Output()
	if err != nil {
		return nil
	}
	return out
}

func TestSparse(t *testing.T) {
	for _, format := range []string{"--format=gnu", "--format=pax", "--format=pax --sparse-version=0.1"} {
		t.Run(format, func(t *testing.T) {
			data := sparseTar(t, "20M", strings.Fields(format)...)
			if data == nil {
				t.Skip("GNU tar is missing")
			}
			_, root := surroundings(t)
			if _, err := Apply(context.Background(), bytes.NewReader(data), root, options(Flat)); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(root+"/hole", &st); err != nil || st.Size != 20<<20+3 || st.Blocks*512 > 1<<20 {
				t.Errorf("%d bytes, %d on disk, %v", st.Size, st.Blocks*512, err)
			}
		})
	}
}

func TestMetadata(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to give files away")
	}
	_, root := surroundings(t)
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	stats := apply(t, root, Options{Style: Flat},
		entry{Name: "su", Body: "x", Mode: 0o4755, UID: 0, GID: 42},
		entry{Name: "cap", Body: "x", Mode: 0o755, UID: 5, Xattrs: map[string]string{"security.capability": capability, "user.a": "b"}},
		entry{Name: "ro", Body: "x", Mode: 0o444, Xattrs: map[string]string{"user.a": "b", "security.selinux": "no"}},
		entry{Name: "g/", Mode: 0o2775, GID: 50}, entry{Name: "g/f", Body: "x"}, entry{Name: "g/d/"}, entry{Name: "g/d/f"},
		entry{Name: "dev", Type: tar.TypeChar, Major: 1, Minor: 3, Mode: 0o666}, entry{Name: "blk", Type: tar.TypeBlock, Major: 259, Minor: 300},
		entry{Name: "l", Type: tar.TypeSymlink, Link: "/nowhere", UID: 70000, GID: 9},
	)
	for name, want := range map[string][3]uint32{
		"su": {unix.S_IFREG | 0o4755, 0, 42}, "cap": {unix.S_IFREG | 0o755, 5, 0}, "ro": {unix.S_IFREG | 0o444, 0, 0},
		"g": {unix.S_IFDIR | 0o2775, 0, 50}, "g/f": {unix.S_IFREG | 0o644, 0, 0}, "g/d": {unix.S_IFDIR | 0o755, 0, 0}, "g/d/f": {unix.S_IFREG | 0o644, 0, 0},
		"dev": {unix.S_IFCHR | 0o666, 0, 0}, "blk": {unix.S_IFBLK | 0o644, 0, 0}, "l": {unix.S_IFLNK | 0o777, 70000, 9},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil || [3]uint32{st.Mode, st.Uid, st.Gid} != want {
			t.Errorf("%s: %o %d:%d, %v; want %o %d:%d", name, st.Mode, st.Uid, st.Gid, err, want[0], want[1], want[2])
		}
		if st.Mtim.Nano() != snaptest.Epoch().UnixNano() {
			t.Errorf("%s: changed at %d", name, st.Mtim.Nano())
		}
	}
	if v, err := sys.Getxattrat(unix.AT_FDCWD, "x", "y"); err == nil {
		t.Errorf("attribute of nothing: %q", v)
	}
	buf := make([]byte, 64)
	if n, err := unix.Lgetxattr(root+"/cap", "security.capability", buf); err != nil || string(buf[:n]) != capability {
		t.Errorf("capability: %q, %v", buf[:max(n, 0)], err)
	}
	if stats.Xattrs != 3 || len(stats.Notes) != 1 || !strings.Contains(stats.Notes[0], "security.selinux") {
		t.Errorf("stats %+v", stats)
	}
}

func TestTruncated(t *testing.T) {
	whole := snaptest.Tar(t, entry{Name: "d/"}, entry{Name: "d/f", Body: strings.Repeat("x", 3000)}, entry{Name: "g", Body: "y"})
	body := bytes.Index(whole, []byte("xxx"))
	for _, n := range []int{100, 530, body + 1000, len(whole) - 1600} {
		_, root := surroundings(t)
		_, err := Apply(context.Background(), bytes.NewReader(whole[:n]), root, options(Flat))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	_, root := surroundings(t)
	if _, err := Apply(context.Background(), strings.NewReader(strings.Repeat("garbage!", 200)), root, options(Flat)); !errors.Is(err, ErrInvalid) {
		t.Errorf("garbage: %v", err)
	}
}

// BenchmarkApply unpacks the archive that CORACLE_TAR names.
func BenchmarkApply(b *testing.B) {
	path := os.Getenv("CORACLE_TAR")
	if path == "" {
		b.Skip("CORACLE_TAR names no archive")
	}
	for b.Loop() {
		b.StopTimer()
		_, root := surroundings(b)
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := Apply(context.Background(), f, root, options(Flat)); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
