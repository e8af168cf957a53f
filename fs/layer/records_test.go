package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRecords: names and link targets of 300 characters, and large owners, by the
// records of PAX and of GNU.
func TestRecords(t *testing.T) {
	long := strings.Repeat("d", 150) + "/" + strings.Repeat("f", 150)
	other := strings.Repeat("e", 150) + "/" + strings.Repeat("g", 150)
	for _, format := range []tar.Format{tar.FormatPAX, tar.FormatGNU} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Name: long, Typeflag: tar.TypeReg, Mode: 0o644, Size: 4},
			{Name: other, Typeflag: tar.TypeLink, Linkname: long},
			{Name: "link", Typeflag: tar.TypeSymlink, Linkname: long},
			{Name: "owned", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1 << 22, Gid: 1 << 30},
		} {
			h.Format = format
			if h.Uid == 0 {
				h.Uid, h.Gid = os.Geteuid(), os.Getegid()
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				io.WriteString(w, "body")
			}
		}
		w.Close()
		for _, style := range []Style{Flat, Overlay, AUFS} {
			_, root := surroundings(t)
			if _, err := Apply(context.Background(), bytes.NewReader(b.Bytes()), root, options(style)); err != nil {
				t.Fatalf("%v: %v", format, err)
			}
			expect(t, root, map[string]string{long: "body", other: "body", "link": "body"})
			var st [3]unix.Stat_t
			for i, f := range []string{long, other, "owned"} {
				if err := unix.Lstat(filepath.Join(root, f), &st[i]); err != nil {
					t.Error(err)
				}
			}
			// A hard link across directories is the same file.
			if st[0].Ino != st[1].Ino || st[0].Nlink != 2 {
				t.Errorf("%v: inodes %d and %d, %d links", format, st[0].Ino, st[1].Ino, st[0].Nlink)
			}
			if os.Geteuid() == 0 && (st[2].Uid != 1<<22 || st[2].Gid != 1<<30) {
				t.Errorf("%v: owner %d:%d", format, st[2].Uid, st[2].Gid)
			}
		}
	}
}

// TestBadRecords: records that say nothing sensible are refused.
func TestBadRecords(t *testing.T) {
	for name, record := range map[string]string{
		"length": "99999999999 path=x\n", "short": "5 p\n", "no equals": "8 paths\n", "negative": "-10 path=x\n",
		"size": "12 size=-1\n\n", "NUL in the name": "13 path=a\x00bc\n", "sparse map": "38 GNU.sparse.map=0,9223372036854775807\n",
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Name: "PaxHeaders/x", Typeflag: tar.TypeReg, Size: int64(len(record)), Format: tar.FormatUSTAR})
		io.WriteString(w, record)
		w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 1, Format: tar.FormatUSTAR})
		io.WriteString(w, "x")
		w.Close()
		data := b.Bytes()
		data[156] = 'x'
		copy(data[148:], "        ")
		sum := 0
		for _, c := range data[:512] {
			sum += int(c)
		}
		copy(data[148:], fmt.Sprintf("%06o\x00 ", sum))
		outer, root := surroundings(t)
		before := state(t, outer)
		if _, err := Apply(context.Background(), bytes.NewReader(data), root, options(Flat)); err == nil {
			t.Errorf("%s: taken", name)
		} else if !errors.Is(err, ErrInvalid) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
		if state(t, outer) != before {
			t.Errorf("%s: outside changed", name)
		}
	}
}

// many is a tar of n small files, 100 in a directory, made while it is read.
func many(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		for i := range n {
			err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/e%d/f%d", i/10000, i/100%100, i%100), Typeflag: tar.TypeReg, Mode: 0o644, Size: 1, Uid: os.Geteuid(), Gid: os.Getegid()})
			if err == nil {
				_, err = t.Write([]byte("x"))
			}
			if err != nil {
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(t.Close())
	}()
	return r
}

// TestManyFiles: what stays in memory goes with the directories, not with the files.
// CORACLE_MANY names another number of them.
func TestManyFiles(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	fmt.Sscan(os.Getenv("CORACLE_MANY"), &n)
	for style, n := range map[Style]int{Flat: n, Overlay: min(n, 10_000)} { // Flat keeps names, for whiteouts
		_, root := surroundings(t)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var most uint64
		in := &counting{r: many(n), every: 64 << 20, see: func() {
			runtime.GC()
			runtime.ReadMemStats(&after)
			most = max(most, after.HeapAlloc)
		}}
		stats, err := Apply(context.Background(), in, root, options(style))
		if err != nil || stats.Entries != n {
			t.Fatalf("%d entries, %v", stats.Entries, err)
		}
		grown := int64(most) - int64(before.HeapAlloc)
		t.Logf("style %d: %d files, at most %.1f MB held", style, n, float64(grown)/1e6)
		if bound := int64(8<<20 + n*200); grown > bound {
			t.Errorf("style %d: %d bytes held, more than %d", style, grown, bound)
		}
		expect(t, root, map[string]string{"d0/e0/f0": "x", fmt.Sprintf("d%d/e%d/f%d", (n-1)/10000, (n-1)/100%100, (n-1)%100): "x"})
	}
}

// counting calls see after every so many bytes, and at the end.
type counting struct {
	r           io.Reader
	done, every int
	see         func()
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.done += n; c.done > c.every || err != nil {
		c.done = 0
		c.see()
	}
	return n, err
}
