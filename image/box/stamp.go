package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"coracle/image"
)

// mark tells whether anything has changed since the image was found in order.
type mark struct {
	binary string // identity of the binary
	index  string // identity of the store's index.json, which is replaced at each change
}

// identity changes whenever the file's content does. ctime is in it, since
// cp -p and tar keep mtimes.
func identity(fi os.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d:%d.%09d", uint64(st.Dev), uint64(st.Ino), st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec), int64(st.Ctim.Sec), int64(st.Ctim.Nsec))
}

func indexOf(s *image.Store) string {
	fi, err := os.Stat(filepath.Join(s.Dir(), "index.json"))
	if err != nil {
		return ""
	}
	return identity(fi)
}

// readStamp returns an empty ID for a stamp that is missing or not ours.
func (e edition) readStamp(s *image.Store) (m mark, id string) {
	b, err := os.ReadFile(e.stampPath(s))
	if err != nil {
		return mark{}, ""
	}
	f := strings.Split(string(b), "\n")
	if len(f) != 5 || f[0] != "box 1" || f[1] == "" || f[2] == "" || !strings.HasPrefix(f[3], "sha256:") {
		return mark{}, ""
	}
	return mark{binary: f[1], index: f[2]}, f[3]
}

// writeStamp keeps what the next start compares. It is a cache: if it cannot
// be written (a read-only store), the next start does the work again.
func (e edition) writeStamp(s *image.Store, m mark, id string) {
	if m.binary == "" || m.index == "" {
		return
	}
	f, err := os.CreateTemp(s.Dir(), "box.stamp-")
	if err != nil {
		return
	}
	_, err = f.WriteString("box 1\n" + m.binary + "\n" + m.index + "\n" + id + "\n")
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), e.stampPath(s))
	}
	if err != nil {
		os.Remove(f.Name())
	}
}

// lock is held by who makes the image: a lock on the store's directory, which
// needs no file that the store would have to know. Filesystems without locks
// make the work double, not wrong.
func lock(ctx context.Context, s *image.Store) (unlock func(), err error) {
	if err := os.MkdirAll(s.Dir(), 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(s.Dir())
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return func() { d.Close() }, nil
		}
		select {
		case <-ctx.Done():
			d.Close()
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
