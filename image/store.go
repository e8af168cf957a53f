package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The sentinels of a store as a whole.
var (
	ErrNotStore = errors.New("not an image store")
	ErrVersion  = errors.New("image store of a newer version")
	ErrDamaged  = errors.New("damaged in the image store")
)

// What stands in a store's directory beside the OCI layout's own files.
const (
	versionFile = "version" // decimal; absent until the store is complete
	lockFile    = "lock"    // flock: who writes index.json or moves blobs holds it
	tmpDir      = "tmp"     // one directory an import or load that is under way
	indexFile   = "index.json"
	layoutFile  = "oci-layout"
	blobDir     = "blobs/sha256"

	format  = 1
	maxJSON = 4 << 20 // of a manifest, config or index; registries take as much
)

// Store is the image store in one directory: an OCI image layout that other
// tools can read while it is used. It is safe for many goroutines and for many
// processes at once.
//
// Blobs are made below tmp and moved into blobs, together with the new
// index.json, under one lock, by which unreferenced blobs are also deleted:
// so no blob of a load under way can be mistaken for rubbish. A process killed
// between the two leaves unreferenced blobs, which the next Remove deletes.
//
// A name stands in org.opencontainers.image.ref.name as Docker shows it
// ("debian:12", what skopeo takes after oci:DIR:) and in
// io.containerd.image.name in full.
type Store struct {
	layout

	// Limit tells what a file of an archive may unpack to; nil: there is none.
	Limit func() int64

	mu  sync.Mutex
	put map[string]*stage // PutLayer's, by digest, until PutImage takes them
}

var _ API = (*Store)(nil)

// layout is the directory itself: its files, its lock and its index.
type layout struct{ dir string }

// Open names the store at dir; nothing is read or made before it is needed.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("image store %q: %w", dir, err)
	}
	return &Store{layout: layout{dir: abs}, put: map[string]*stage{}}, nil
}

func (s *layout) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

func (s *layout) blobPath(digest string) string {
	return s.path(blobDir, strings.TrimPrefix(digest, "sha256:"))
}

// checkVersion refuses a store that a later coracle made.
func (s *layout) checkVersion() (complete bool, err error) {
	b, err := os.ReadFile(s.path(versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("image store: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n < 1 {
		return false, fmt.Errorf("%w: %s: %s says %q", ErrNotStore, s.dir, versionFile, b)
	}
	if n > format {
		return false, fmt.Errorf("%w: %s has version %d, this program knows up to %d", ErrVersion, s.dir, n, format)
	}
	return true, nil
}

// lock takes the store's lock for writing, making the store if there is none.
func (s *layout) lock() (unlock func(), err error) {
	complete, err := s.checkVersion()
	if err != nil {
		return nil, err
	}
	if !complete {
		if err := s.adoptable(); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	f, err := lockAt(s.path(lockFile))
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	if !complete {
		if err := s.make(); err != nil {
			unlockFile(f)
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	return func() { unlockFile(f) }, nil
}

// adoptable refuses a directory that holds what no store and no OCI layout
// holds: writing into a mistyped --root harms more than an error.
func (s *layout) adoptable() error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case versionFile, lockFile, tmpDir, partialDir, indexFile, layoutFile, "blobs", "lost+found":
		default:
			return fmt.Errorf("%w: %s holds %q", ErrNotStore, s.dir, e.Name())
		}
	}
	return nil
}

// make completes the store under its lock, version file last.
func (s *layout) make() error {
	for _, d := range []string{blobDir, tmpDir} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
	}
	if err := s.writeOnce(layoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)); err != nil {
		return err
	}
	empty, err := json.Marshal(newIndex())
	if err != nil {
		return err
	}
	if err := s.writeOnce(indexFile, empty); err != nil {
		return err
	}
	return s.writeOnce(versionFile, []byte(strconv.Itoa(format)+"\n"))
}

func (s *layout) writeOnce(name string, data []byte) error {
	if _, err := os.Lstat(s.path(name)); err == nil {
		return nil
	}
	return s.write(name, data)
}

// write puts data in place of a file, whole or not at all.
func (s *layout) write(name string, data []byte) error {
	f, err := os.CreateTemp(s.path(tmpDir), "file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path(name))
	}
	if err != nil {
		return err
	}
	return syncDir(s.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Filesystems that cannot sync a directory say EINVAL (fsync(2)).
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// lockAt opens and locks path; closing the file unlocks.
func lockAt(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unlockFile unlocks before closing: a child that is between fork and exec
// still has the file open, and the lock with it.
func unlockFile(f *os.File) {
	syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	f.Close()
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}

// readBlob reads a small blob and checks it against its digest.
func (s *layout) readBlob(digest string) ([]byte, error) {
	if !isSHA256(digest) {
		return nil, fmt.Errorf("%w: digest %q", ErrDamaged, digest)
	}
	f, err := os.Open(s.blobPath(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(b) > maxJSON || digestOf(b) != digest {
		return nil, fmt.Errorf("%w: blob %s does not match its digest", ErrDamaged, digest)
	}
	return b, nil
}
