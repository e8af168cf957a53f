package sys

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T, data []byte) (dst, src *os.File) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/src", data, 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := os.Open(dir + "/src")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	if dst, err = os.Create(dir + "/dst"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dst.Close() })
	return dst, src
}

// TestCopyRange copies with the kernel's help and as where there is none.
func TestCopyRange(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 50000)
	was := noCopyRange.Load()
	defer noCopyRange.Store(was)
	for _, without := range []bool{false, true} {
		noCopyRange.Store(without)
		dst, src := pair(t, data)
		buf := make([]byte, 1000)
		if err := CopyRange(int(dst.Fd()), int(src.Fd()), 0, int64(len(data)), buf); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(dst.Name()); !bytes.Equal(got, data) {
			t.Errorf("without %v: contents differ", without)
		}
		if err := CopyRange(int(dst.Fd()), int(src.Fd()), 0, int64(len(data))+1, buf); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("without %v: too much: %v", without, err)
		}
	}
}

func TestCopyFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("/dev/full is missing: %v", err)
	}
	defer full.Close()
	_, src := pair(t, []byte("data"))
	if err := CopyByHand(int(full.Fd()), int(src.Fd()), 0, 4, make([]byte, 10)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// TestChmodNoFollow tries the new call and what serves before it.
func TestChmodNoFollow(t *testing.T) {
	for name, chmod := range map[string]func(int, string, uint32) error{"best": ChmodNoFollow, "by path": chmodByPath} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.WriteFile(dir+"/f", nil, 0), os.Symlink("f", dir+"/l")); err != nil {
				t.Fatal(err)
			}
			fd, err := OpenDirat(unix.AT_FDCWD, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := chmod(fd, "f", 0o4751); err != nil {
				t.Fatal(err)
			}
			if err := chmod(fd, "l", 0o777); err == nil {
				t.Error("changed a link's mode")
			}
			var st unix.Stat_t
			if err := Fstatat(fd, "f", &st); err != nil || st.Mode&0o7777 != 0o4751 {
				t.Errorf("mode %o, %v", st.Mode, err)
			}
		})
	}
}

func TestDirents(t *testing.T) {
	dir := t.TempDir()
	want := map[string]byte{}
	for i := range 300 {
		name := string(bytes.Repeat([]byte("n"), i%200+1)) + string(rune('a'+i/200))
		want[name] = unix.DT_REG
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := OpenDirat(unix.AT_FDCWD, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = Dirents(fd, make([]byte, 4096), func(name string, typ byte) error {
		if typ != unix.DT_UNKNOWN && typ != want[name] {
			t.Errorf("%s: type %d", name, typ)
		}
		delete(want, name)
		return nil
	})
	if err != nil || len(want) > 0 {
		t.Errorf("%d not listed, %v", len(want), err)
	}
}

func TestFutimesAndUmask(t *testing.T) {
	f, _ := pair(t, nil)
	ts := unix.Timespec{Sec: 1234567890, Nsec: 987654321}
	if err := Futimes(int(f.Fd()), ts, ts); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := Fstat(int(f.Fd()), &st); err != nil || st.Mtim != ts || st.Atim != ts {
		t.Errorf("%v, %v, %v", st.Atim, st.Mtim, err)
	}
	if m := Umask(); st.Mode&0o777 != 0o666&^m && m != 0o777 {
		t.Errorf("umask %o, mode %o", m, st.Mode)
	}
}
