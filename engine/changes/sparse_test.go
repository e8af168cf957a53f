package changes

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coracle/fs/layer"

	"golang.org/x/sys/unix"
)

// TestSparse: a file with holes stays small in a layer, whatever its name is, and
// comes out as it was, by archive/tar, by GNU tar and by our own unpacking.
func TestSparse(t *testing.T) {
	src := t.TempDir()
	long := strings.Repeat("ö", 70)
	for _, name := range []string{"plain", long, "end", "full", "small"} {
		f, err := os.Create(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "end": // data up to the last byte
			f.Truncate(16 << 20)
			f.WriteAt([]byte("last"), 16<<20-4)
		case "full":
			f.Write(bytes.Repeat([]byte("x"), 1<<20))
		case "small":
			f.Truncate(1000)
		default:
			f.Truncate(32 << 20)
			for i := range int64(5) {
				f.WriteAt(fmt.Appendf(nil, "piece %d", i), 1<<20+i*4<<20+123)
			}
		}
		f.Close()
	}
	unix.Setxattr(filepath.Join(src, "plain"), "user.kept", []byte("v"), 0)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(src, "plain"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Skipf("a filesystem with holes in files is missing: %d blocks, %v", st.Blocks, err)
	}
	f, err := os.Open(filepath.Join(src, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != nil {
		t.Skipf("missing feature: lseek with SEEK_DATA (Linux 3.1), without which holes are read as zeroes: %v", err)
	}
	var buf bytes.Buffer
	p := newPacker(context.Background(), &buf)
	p.raw = &buf
	if err := p.path(openDir(t, src), ".", "top", src); err != nil {
		t.Fatal(err)
	}
	if buf.Len() > 2<<20 {
		t.Errorf("%d bytes", buf.Len())
	}
	sparse := 0
	r := tar.NewReader(bytes.NewReader(buf.Bytes()))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.PAXRecords["GNU.sparse.major"] != "" {
			sparse++
		}
		if h.Typeflag == tar.TypeReg {
			want, err := os.ReadFile(filepath.Join(src, filepath.Base(h.Name)))
			got, rerr := io.ReadAll(r)
			if err != nil || rerr != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v, %v; want %d", h.Name, len(got), err, rerr, len(want))
			}
		}
	}
	if sparse != 3 {
		t.Errorf("%d sparse files, want 3", sparse)
	}
	ours, gnu := t.TempDir(), t.TempDir()
	if _, err := layer.Apply(context.Background(), bytes.NewReader(buf.Bytes()), ours, layer.Options{}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-xf", "-", "-C", gnu)
	cmd.Stdin = bytes.NewReader(buf.Bytes())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for _, dir := range []string{ours, gnu} {
		for _, name := range []string{"plain", long, "end", "full", "small"} {
			want, _ := os.ReadFile(filepath.Join(src, name))
			got, err := os.ReadFile(filepath.Join(dir, "top", name))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			var a, b unix.Stat_t
			unix.Stat(filepath.Join(src, name), &a)
			unix.Stat(filepath.Join(dir, "top", name), &b)
			if b.Blocks > a.Blocks+64 || a.Mtim != b.Mtim {
				t.Errorf("%s: %d blocks at %v, want %d at %v", name, b.Blocks, b.Mtim, a.Blocks, a.Mtim)
			}
		}
	}
}
