package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	must(t, Remove(context.Background(), path))
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s after its removal: %v", path, err)
	}
}

func TestRemoveDeeperThanAnyPath(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.Mkdir(top, 0o755))
	fd, err := sys.OpenDirat(unix.AT_FDCWD, top)
	must(t, err)
	name := strings.Repeat("x", 100)
	for range 3000 { // 300 kB of path; PATH_MAX is 4 kB
		must(t, sys.Mkdirat(fd, name, 0o755))
		next, err := sys.OpenDirat(fd, name)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	remove(t, top)
}

func TestRemoveModes(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.MkdirAll(top+"/a/b/c", 0o755))
	must(t, os.WriteFile(top+"/a/b/f", nil, 0))
	for _, d := range []string{"/a/b/c", "/a/b", "/a"} {
		must(t, os.Chmod(top+d, 0))
	}
	remove(t, top)
	remove(t, top) // absent
}

func TestRemoveFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/keep/sub", 0o755))
	must(t, os.WriteFile(dir+"/keep/f", nil, 0o644))
	must(t, os.Mkdir(dir+"/top", 0o755))
	must(t, os.Symlink("../keep", dir+"/top/l"))
	must(t, os.Symlink("top", dir+"/l"))
	remove(t, dir+"/l")
	remove(t, dir+"/top")
	if _, err := os.Stat(dir + "/keep/f"); err != nil {
		t.Error(err)
	}
}

func TestRemoveImmutable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to make a file immutable")
	}
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.MkdirAll(top+"/d", 0o755))
	must(t, os.WriteFile(top+"/d/f", nil, 0o644))
	for _, name := range []string{"/d/f", "/d"} {
		f, err := os.Open(top + name)
		must(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10)
		f.Close()
		if err != nil {
			t.Skipf("immutable files are missing on this filesystem: %v", err)
		}
	}
	remove(t, top)
}

// TestRemoveBusy: a mount that goes away is waited for.
func TestRemoveBusy(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.MkdirAll(top+"/m", 0o755))
	if err := unix.Mount("tmpfs", top+"/m", "tmpfs", 0, ""); err != nil {
		t.Skipf("the right to mount is missing: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, func() { unix.Unmount(top+"/m", 0) })
	remove(t, top)
}

func copyTree(t *testing.T, src string, opt CopyOptions) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "dst")
	must(t, MakeRoot(dst))
	must(t, Copy(context.Background(), src, dst, opt))
	return dst
}

// listing describes a tree so that two can be compared.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel := path[len(dir):]
		if d.IsDir() {
			st.Size = 0
		} else if _, ok := first[st.Ino]; !ok {
			first[st.Ino] = rel
		}
		fmt.Fprintf(&b, "%s %o %d:%d %d m%d dev%d = %s", rel, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Nano(), st.Rdev, first[st.Ino])
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", bytes.TrimRight(data, "\x00"))
			attr := make([]byte, 100)
			if n, err := unix.Getxattr(path, "user.test", attr); err == nil {
				fmt.Fprintf(&b, " user.test=%s", attr[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func sampleTree(t *testing.T) string {
	src := filepath.Join(t.TempDir(), "src")
	must(t, os.MkdirAll(src+"/many", 0o755))
	for i := range 500 {
		must(t, os.WriteFile(fmt.Sprintf("%s/many/%d", src, i), bytes.Repeat([]byte{byte(i)}, i*7), 0o640))
	}
	must(t, os.MkdirAll(src+"/a/b/c", 0o755))
	must(t, os.WriteFile(src+"/a/large", bytes.Repeat([]byte("large"), 100000), 0o600))
	must(t, os.WriteFile(src+"/a/su", []byte("x"), 0o755))
	must(t, os.Chmod(src+"/a/su", os.ModeSetuid|0o755))
	must(t, os.Link(src+"/a/su", src+"/a/b/same"))
	must(t, os.Link(src+"/a/su", src+"/many/same"))
	must(t, os.Symlink("../nowhere", src+"/a/link"))
	must(t, unix.Mkfifo(src+"/a/pipe", 0o600))
	unix.Setxattr(src+"/a/large", "user.test", []byte("value"), 0)
	hole, err := os.Create(src + "/hole")
	must(t, err)
	must(t, hole.Truncate(10<<20))
	_, err = hole.WriteAt([]byte("data"), 5<<20)
	must(t, err)
	must(t, hole.Close())
	if os.Geteuid() == 0 {
		must(t, os.Lchown(src+"/a/link", 1234, 567890))
		must(t, os.Chown(src+"/many", 77, 88))
		must(t, unix.Mknod(src+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	must(t, os.Chmod(src+"/a/b/c", 0o555))
	must(t, os.Chmod(src+"/a/b", 0o500))
	must(t, os.Chmod(src, 0o711))
	old := time.Unix(1000000000, 123456789)
	for _, d := range []string{"/a/b/c", "/a/b", "/a", "/many", ""} {
		must(t, os.Chtimes(src+d, old, old))
	}
	t.Cleanup(func() { Remove(context.Background(), src) })
	return src
}

func TestCopyIsFaithful(t *testing.T) {
	src := sampleTree(t)
	want := listing(t, src)
	for _, workers := range []int{1, 4} {
		dst := copyTree(t, src, CopyOptions{Workers: workers})
		if got := listing(t, dst); got != want {
			t.Errorf("%d workers: got\n%s\nwant\n%s", workers, got, want)
		}
		var st unix.Stat_t
		must(t, unix.Stat(dst+"/hole", &st))
		if st.Blocks*512 > 1<<20 {
			t.Errorf("the hole takes %d bytes", st.Blocks*512)
		}
		must(t, Remove(context.Background(), dst))
	}
	if got := listing(t, src); got != want {
		t.Errorf("the source changed:\n%s\nwas\n%s", got, want)
	}
}

// TestCopyLeavesAccessTimes: with "relatime" a file read for the first time after
// a change gets a new one, which writes the inode.
func TestCopyLeavesAccessTimes(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	must(t, os.MkdirAll(src+"/d", 0o755))
	must(t, os.WriteFile(src+"/d/f", []byte("x"), 0o644))
	old := time.Unix(1000000000, 0)
	for _, name := range []string{"/d/f", "/d", ""} {
		must(t, os.Chtimes(src+name, old, old))
	}
	copyTree(t, src, CopyOptions{})
	for _, name := range []string{"", "/d", "/d/f"} {
		var st unix.Stat_t
		must(t, unix.Lstat(src+name, &st))
		if st.Atim.Nano() != old.UnixNano() {
			t.Errorf("%q was accessed at %d", name, st.Atim.Nano())
		}
	}
}

func TestCopyHolesByHand(t *testing.T) {
	src := sampleTree(t)
	in, err := os.Open(src + "/hole")
	must(t, err)
	defer in.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "hole"))
	must(t, err)
	defer out.Close()
	w := &worker{data: make([]byte, 100000)}
	must(t, w.sparseByHand(int(out.Fd()), int(in.Fd()), 0, 10<<20))
	a, _ := os.ReadFile(in.Name())
	b, _ := os.ReadFile(out.Name())
	if !bytes.Equal(a, b) {
		t.Error("contents differ")
	}
	var st unix.Stat_t
	must(t, unix.Fstat(int(out.Fd()), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the hole takes %d bytes", st.Blocks*512)
	}
}

func TestCopyStops(t *testing.T) {
	src := sampleTree(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := t.TempDir()
	if err := Copy(ctx, src, dst, CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := Copy(context.Background(), src+"/absent", dst, CopyOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	must(t, os.WriteFile(dst+"/hole", nil, 0o600))
	if err := Copy(context.Background(), src, dst, CopyOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("into a full directory: %v", err)
	}
}

func TestUsageCountsOnce(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/a", make([]byte, 1<<20), 0o600))
	must(t, Sync(dir))
	one, err := Usage(dir)
	must(t, err)
	must(t, os.Link(dir+"/a", dir+"/b"))
	two, err := Usage(dir)
	must(t, err)
	if one < 1<<20 || two > one+8192 {
		t.Errorf("%d, and %d with a second name", one, two)
	}
}
