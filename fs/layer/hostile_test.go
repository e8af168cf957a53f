package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"coracle/fs/snapshot/snaptest"
	"coracle/fs/tree"

	"golang.org/x/sys/unix"
)

type entry = snaptest.Entry

// surroundings is a directory with files that no archive may touch, and a
// directory "root" to unpack into.
func surroundings(t testing.TB) (outer, root string) {
	t.Helper()
	outer, err := os.MkdirTemp("", "hostile-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Remove(context.Background(), outer); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	root = filepath.Join(outer, "root")
	for _, dir := range []string{root, outer + "/victim", outer + "/victim/sub"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"passwd", "victim/file", "victim/sub/file"} {
		if err := os.WriteFile(filepath.Join(outer, f), []byte("untouched"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return outer, root
}

// state is everything about the surroundings that an archive could change.
func state(t testing.TB, outer string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(outer, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == outer+"/root" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d n%d m%d c%d", path[len(outer):], st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Nano(), st.Ctim.Nano())
		if d.Type().IsRegular() {
			data, _ := os.ReadFile(path)
			fmt.Fprintf(&b, " %s", data)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func options(style Style) Options { return Options{Style: style, Squash: os.Geteuid() != 0} }

func TestHostile(t *testing.T) {
	long := strings.Repeat("a/", 2000) + "f"
	cases := []struct {
		name    string
		entries []entry
		err     error // nil: it unpacks, harmlessly
		want    []string
	}{
		{"absolute", []entry{{Name: "/etc/passwd", Body: "x"}}, nil, []string{"etc/passwd"}},
		{"dotted", []entry{{Name: "../passwd", Body: "x"}}, ErrUnsafe, nil},
		{"dotted inside", []entry{{Name: "a/../../passwd", Body: "x"}}, ErrUnsafe, nil},
		{"dotted absolute", []entry{{Name: "/../../passwd", Body: "x"}}, nil, []string{"passwd"}},
		{"dots that stay", []entry{{Name: "a/b/../c", Body: "x"}}, nil, []string{"a/c"}},
		{"link as parent, absolute", []entry{{Name: "l", Type: '2', Link: "/victim"}, {Name: "l/file", Body: "x"}}, nil, []string{"victim/file"}},
		{"link as parent, relative", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/file", Body: "x"}}, nil, []string{"victim/file"}},
		{"link as parent, dots", []entry{{Name: "l", Type: '2', Link: "a/../../../victim"}, {Name: "l/file", Body: "x"}}, nil, []string{"victim/file"}},
		{"link chain", []entry{{Name: "a", Type: '2', Link: ".."}, {Name: "b", Type: '2', Link: "a/victim"}, {Name: "b/file", Body: "x"}}, nil, []string{"victim/file"}},
		{"link to the real path", []entry{{Name: "l", Type: '2', Link: "ROOT/../victim"}, {Name: "l/file", Body: "x"}}, nil, nil},
		{"link loop", []entry{{Name: "l", Type: '2', Link: "l"}, {Name: "l/file", Body: "x"}}, unix.ELOOP, nil},
		{"link pair", []entry{{Name: "a", Type: '2', Link: "b"}, {Name: "b", Type: '2', Link: "a"}, {Name: "a/f", Body: "x"}}, unix.ELOOP, nil},
		{"link, then file of its name", []entry{{Name: "l", Type: '2', Link: "../passwd"}, {Name: "l", Body: "x"}}, nil, []string{"l"}},
		{"link, then directory of its name", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/"}, {Name: "l/file", Body: "x"}}, nil, []string{"l/file"}},
		{"link, then mode of its name", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/", Mode: 0o777}}, nil, []string{"l"}},
		{"directory replaced by link in the middle", []entry{{Name: "d/"}, {Name: "d/a", Body: "a"}, {Name: "d", Type: '2', Link: "../victim"}, {Name: "d/file", Body: "x"}}, nil, []string{"victim/file"}},
		{"hard link outside", []entry{{Name: "h", Type: '1', Link: "../passwd"}}, ErrUnsafe, nil},
		{"hard link absolute", []entry{{Name: "h", Type: '1', Link: "/passwd"}}, fs.ErrNotExist, nil},
		{"hard link over a link", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "h", Type: '1', Link: "l/file"}}, fs.ErrNotExist, nil},
		{"hard link to a link, then write", []entry{{Name: "l", Type: '2', Link: "../passwd"}, {Name: "h", Type: '1', Link: "l"}, {Name: "h", Body: "x"}}, nil, []string{"h"}},
		{"hard link to a directory", []entry{{Name: "d/"}, {Name: "h", Type: '1', Link: "d"}}, ErrInvalid, nil},
		{"hard link to the root", []entry{{Name: "h", Type: '1', Link: "/"}}, ErrInvalid, nil},
		{"hard link to itself", []entry{{Name: "h", Body: "x"}, {Name: "h", Type: '1', Link: "h"}}, nil, []string{"h"}},
		{"whiteout of dots", []entry{{Name: ".wh..."}}, ErrInvalid, nil},
		{"whiteout of dot", []entry{{Name: ".wh.."}}, ErrInvalid, nil},
		{"whiteout of nothing", []entry{{Name: ".wh."}}, ErrInvalid, nil},
		{"whiteout as directory", []entry{{Name: ".wh.a/b", Body: "x"}}, ErrInvalid, nil},
		{"whiteout over a link", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/.wh.file"}}, nil, nil},
		{"whiteout outside", []entry{{Name: "../.wh.victim"}}, ErrUnsafe, nil},
		{"opaque over a link", []entry{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/.wh..wh..opq"}}, nil, nil},
		{"aufs housekeeping", []entry{{Name: ".wh..wh.plnk/"}, {Name: ".wh..wh.plnk/1.2", Body: "x"}, {Name: "f", Body: "x"}}, nil, []string{"f"}},
		{"root as a file", []entry{{Name: ".", Type: '0'}}, ErrInvalid, nil},
		{"root as a link", []entry{{Name: ".", Type: '2', Link: "../victim"}}, ErrInvalid, nil},
		{"duplicates", []entry{{Name: "f", Body: "1"}, {Name: "f", Body: "2"}, {Name: "f/"}, {Name: "f/g", Body: "x"}, {Name: "f", Body: "3"}, {Name: "f/h", Body: "x"}}, nil, []string{"f/h"}},
		{"owner of all bits", []entry{{Name: "f", UID: -1}}, ErrInvalid, nil},
		{"device of odd number", []entry{{Name: "dev", Type: '3', Major: 1 << 20, Minor: 3}}, ErrInvalid, nil},
		{"deep", []entry{{Name: long, Body: "x"}}, nil, []string{long}},
		{"too deep", []entry{{Name: strings.Repeat("a/", 4000) + "f", Body: "x"}}, unix.ENAMETOOLONG, nil},
		{"deep by links", []entry{{Name: long, Body: "x"}, {Name: "l", Type: '2', Link: strings.Repeat("a/", 2000)}, {Name: "l/" + strings.Repeat("b/", 1000), Type: '5'}}, unix.ENAMETOOLONG, nil},
		{"long component", []entry{{Name: strings.Repeat("n", 300), Body: "x"}}, unix.ENAMETOOLONG, nil},
		{"long name", []entry{{Name: strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200), Body: "x"}}, nil, []string{strings.Repeat("n", 200) + "/" + strings.Repeat("m", 200)}},
		{"redirect attribute", []entry{{Name: "d/", Xattrs: map[string]string{"trusted.overlay.redirect": "/../../victim", "user.overlay.redirect": "/x"}}}, nil, []string{"d"}},
		{"unknown type", []entry{{Name: "f", Type: 'V'}}, ErrInvalid, nil},
	}
	for _, style := range []Style{Flat, Overlay, AUFS} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%d/%s", style, c.name), func(t *testing.T) {
				if c.err == ErrInvalid && os.Geteuid() != 0 && (strings.HasPrefix(c.name, "owner") || strings.HasPrefix(c.name, "device")) {
					t.Skip("root is missing: owners and devices are squashed")
				}
				outer, root := surroundings(t)
				for i := range c.entries {
					c.entries[i].Link = strings.ReplaceAll(c.entries[i].Link, "ROOT", root)
				}
				data := snaptest.Tar(t, c.entries...)
				before := state(t, outer)
				opt := options(style)
				opt.UserXattr = os.Geteuid() != 0
				_, err := Apply(context.Background(), bytes.NewReader(data), root, opt)
				if (c.err == nil && err != nil) || !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				if after := state(t, outer); after != before {
					t.Errorf("outside changed:\n%s\n->\n%s", before, after)
				}
				for _, name := range c.want {
					if _, err := os.Lstat(filepath.Join(root, name)); err != nil {
						t.Errorf("missing: %v", err)
					}
				}
				if st, err := os.Lstat(root); err != nil || !st.IsDir() {
					t.Errorf("the root: %v, %v", st, err)
				}
			})
		}
	}
}

// TestSwapRace applies archives while someone exchanges directories of the tree
// for links to the outside, as fast as possible.
func TestSwapRace(t *testing.T) {
	outer, root := surroundings(t)
	var entries []entry
	for i := range 2000 {
		entries = append(entries, entry{Name: fmt.Sprintf("d/e/f%d", i%5), Body: "x"}, entry{Name: "other/x", Body: "y"}, entry{Name: "d/.wh.file"}, entry{Name: "d/sub/.wh..wh..opq"})
	}
	data := snaptest.Tar(t, entries...)
	before := state(t, outer)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var swaps atomic.Int32
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Mkdir(root+"/d", 0o755)
			os.Rename(root+"/d", root+"/d.away")
			if os.Symlink("../victim", root+"/d") == nil {
				swaps.Add(1)
			}
			os.Remove(root + "/d")
			os.Rename(root+"/d.away", root+"/d")
			os.RemoveAll(root + "/d.away")
		}
	}()
	for end := time.Now().Add(3 * time.Second); swaps.Load() < 200 && time.Now().Before(end); {
		// It may well fail: what matters is where it writes.
		Apply(context.Background(), bytes.NewReader(data), root, options(Flat))
	}
	close(stop)
	<-stopped
	if n := swaps.Load(); n < 20 {
		t.Errorf("only %d swaps", n)
	}
	if after := state(t, outer); after != before {
		t.Errorf("outside changed:\n%s\n->\n%s", before, after)
	}
}

// trapped makes root anew, with a link in it that leads out.
func trapped(t *testing.T, root string) {
	t.Helper()
	if err := tree.Remove(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, root + "/d"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../victim", root+"/d/l"); err != nil {
		t.Fatal(err)
	}
}

// FuzzApply unpacks arbitrary bytes, as a base and on top of a tree.
func FuzzApply(f *testing.F) {
	for _, entries := range [][]entry{
		{{Name: "a/"}, {Name: "a/b", Body: "b"}, {Name: "a/.wh.c"}},
		{{Name: "l", Type: '2', Link: "../victim"}, {Name: "l/file", Body: "x"}, {Name: "h", Type: '1', Link: "l/file"}},
		{{Name: "../passwd", Body: "x"}},
		{{Name: "d/.wh..wh..opq"}, {Name: "d/new", Body: "n", Xattrs: map[string]string{"user.x": "y"}}},
		{{Name: "dev", Type: '3', Major: 1, Minor: 3}, {Name: "p", Type: '6'}, {Name: strings.Repeat("long/", 60), Type: '5'}},
	} {
		f.Add(snaptest.Tar(f, entries...), byte(0))
		f.Add(snaptest.Tar(f, entries...), byte(1))
	}
	outer, root := surroundings(f)
	f.Fuzz(func(t *testing.T, data []byte, style byte) {
		trapped(t, root)
		before := state(t, outer)
		opt := Options{Style: Style(style % 3), Squash: true, UserXattr: true, MaxBytes: 1 << 20}
		Apply(context.Background(), bytes.NewReader(data), root, opt)
		if after := state(t, outer); after != before {
			t.Errorf("outside changed:\n%s\n->\n%s", before, after)
		}
	})
}

// TestNegativeSize: sizes below zero and beyond what there is, in all ways that a
// header has to say them.
func TestNegativeSize(t *testing.T) {
	for name, size := range map[string][]byte{
		"base 256, -1":    []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
		"base 256, large": []byte("\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"),
		"minus":           []byte("-0000000001\x00"),
		"octal, large":    []byte("77777777777\x00"),
	} {
		data := snaptest.Tar(t, entry{Name: "f", Body: "x"})
		// The first header is PAX's, for the nanoseconds: of it and of the file.
		for at := 0; at+512 <= len(data); at += 512 {
			if !bytes.Equal(data[at+257:at+262], []byte("ustar")) || data[at+156] == 'x' {
				continue
			}
			copy(data[at+124:], size)
			copy(data[at+148:], "        ")
			sum := 0
			for _, c := range data[at : at+512] {
				sum += int(c)
			}
			copy(data[at+148:], fmt.Sprintf("%06o\x00 ", sum))
		}
		_, root := surroundings(t)
		_, err := Apply(context.Background(), bytes.NewReader(data), root, options(Flat))
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
