// Package shelf keeps named objects, each a directory that is complete or
// absent, whatever is killed and when.
//
// On disk, below the shelf's directory: NAME (complete objects), tmp/NAME (what
// is being made or deleted), lock/NAME (flock(2)ed by who works on it). An
// object is made in tmp and renamed into place. The kernel drops a lock with its
// holder, so nothing in tmp whose lock can be had belongs to anybody.
//
// An object's own directory belongs to us with mode 0700, so that it can always
// be renamed; trees with owners and modes of their own lie inside it.
package shelf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/fs/tree"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

const (
	tmpDir  = "tmp"
	lockDir = "lock"
	maxWait = 50 * time.Millisecond
)

// Shelf is a directory of objects. Making one costs nothing.
type Shelf struct {
	dir string
	// Large says that objects are of many files: see sys.Spread.
	Large bool
}

// New is the shelf in dir, which is made when the first object is.
func New(dir string) *Shelf { return &Shelf{dir: dir} }

// Dir is the shelf's directory.
func (s *Shelf) Dir() string { return s.dir }

// Path is the complete object's directory.
func (s *Shelf) Path(name string) string { return filepath.Join(s.dir, name) }

// Has tells whether the object is there.
func (s *Shelf) Has(name string) bool {
	if Check(name) != nil {
		return false
	}
	_, err := os.Lstat(s.Path(name))
	return err == nil
}

// Check refuses names that could be anything but a plain file name.
func Check(name string) error {
	if name == "" || name[0] == '.' || name == tmpDir || name == lockDir || len(name) > 200 || strings.ContainsAny(name, "/:,\\\x00") {
		return fmt.Errorf("invalid name %q: %w", name, fs.ErrInvalid)
	}
	return nil
}

// Key makes a short file name of a digest: the first 80 bits. Who can find two
// digests with one key (2^40 tries) made both; who uses a key compares the
// full digest that the object holds.
func Key(digest string) string {
	if _, enc, ok := strings.Cut(digest, ":"); ok && len(enc) >= 32 {
		if _, err := hex.DecodeString(enc[:20]); err == nil && strings.ToLower(enc) == enc {
			return enc[:20]
		}
	}
	sum := sha256.Sum256([]byte(digest))
	return hex.EncodeToString(sum[:10])
}

// Names lists the complete objects.
func (s *Shelf) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && Check(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Begin makes an empty directory for the object that l locks, and removes what
// was left of an earlier attempt.
func (s *Shelf) Begin(ctx context.Context, l *Lock) (dir string, err error) {
	dir = filepath.Join(s.dir, tmpDir, l.name)
	if err := tree.Remove(ctx, dir); err != nil {
		return "", fmt.Errorf("remove leftover: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	if s.Large {
		return dir, s.spread(dir)
	}
	return dir, os.Mkdir(dir, 0o700)
}

// spread makes a directory in a group of blocks of its own. ext4 chooses it by the
// name: with its own name, an object that was just deleted would be made again
// where its old inodes were.
func (s *Shelf) spread(dir string) error {
	sys.Spread(filepath.Dir(dir))
	for range 10 {
		made, err := os.MkdirTemp(filepath.Dir(dir), "new-")
		if err == nil {
			err = os.Rename(made, dir)
		}
		if !errors.Is(err, fs.ErrNotExist) { // Clean takes it for a leftover
			return err
		}
	}
	return os.Mkdir(dir, 0o700)
}

// Commit renames what Begin made into place.
func (s *Shelf) Commit(l *Lock) error {
	err := os.Rename(filepath.Join(s.dir, tmpDir, l.name), s.Path(l.name))
	if errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("%s: %w", l.name, fs.ErrExist)
	}
	return err
}

// Abort removes what Begin made. It works with a context that is done, too.
func (s *Shelf) Abort(l *Lock) error {
	return tree.Remove(context.Background(), filepath.Join(s.dir, tmpDir, l.name))
}

// Sync makes the names of committed objects durable. The contents are the
// maker's to sync, before Commit.
func (s *Shelf) Sync() error { return sys.SyncDir(s.dir) }

// Delete removes the object that l locks, at once for everybody else.
func (s *Shelf) Delete(ctx context.Context, l *Lock) error {
	tmp := filepath.Join(s.dir, tmpDir, l.name)
	if err := tree.Remove(ctx, tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(tmp), 0o700); err != nil {
		return err
	}
	if err := renameBusy(ctx, s.Path(l.name), tmp); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return tree.Remove(ctx, tmp)
}

// renameBusy waits out EBUSY for a moment, as tree.Remove does: before Linux
// 3.18 a directory with a mount point of any namespace can be busy.
func renameBusy(ctx context.Context, from, to string) error {
	for end := time.Now().Add(3 * time.Second); ; {
		err := os.Rename(from, to)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Clean removes what killed processes left in tmp.
func (s *Shelf) Clean(ctx context.Context) error {
	var failed []error
	for _, sub := range [...]string{tmpDir, lockDir} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			l, err := s.try(e.Name(), unix.LOCK_EX)
			if errors.Is(err, unix.EWOULDBLOCK) {
				continue
			}
			if err == nil {
				err = tree.Remove(ctx, filepath.Join(s.dir, tmpDir, e.Name()))
				l.Unlock()
			}
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}
