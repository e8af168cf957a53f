package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"coracle/image/name"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stage is a directory below tmp in which one import or load makes its blobs.
// Its lock file is held as long as its process lives; whoever finds it free
// deletes the directory.
type stage struct {
	dir  string
	held *os.File
	blob blob // PutLayer's one
}

func (s *Store) newStage() (*stage, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock() // a stage is made and locked in one step for sweep
	s.sweep()
	dir, err := os.MkdirTemp(s.path(tmpDir), "stage-")
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	f, err := lockAt(filepath.Join(dir, lockFile))
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("image store: %w", err)
	}
	return &stage{dir: dir, held: f}, nil
}

func (st *stage) close() {
	os.RemoveAll(st.dir)
	unlockFile(st.held)
}

// sweep deletes what killed processes left below tmp; the store is locked.
func (s *layout) sweep() {
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		p := s.path(tmpDir, e.Name())
		f, err := os.OpenFile(filepath.Join(p, lockFile), os.O_RDWR, 0)
		if err != nil { // a file, or a stage killed before it had its lock
			os.RemoveAll(p)
			continue
		}
		if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(p)
		}
		unlockFile(f)
	}
}

// Receiving tells whether something comes into the store or goes out of it, now.
func (s *layout) Receiving() bool {
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil {
		return false
	}
	for _, e := range entries {
		f, err := os.Open(s.path(tmpDir, e.Name(), lockFile))
		if err != nil {
			continue
		}
		busy := flock(f, syscall.LOCK_SH|syscall.LOCK_NB) != nil
		unlockFile(f)
		if busy {
			return true
		}
	}
	return false
}

// blob is a file of the stage that is to be a blob of the store.
type blob struct {
	path   string
	digest string
	size   int64
}

// create makes a file for write to fill, and measures it.
func (st *stage) create(write func(io.Writer) error) (blob, error) {
	f, err := os.CreateTemp(st.dir, "blob-")
	if err != nil {
		return blob{}, err
	}
	h := sha256.New()
	c := &counter{w: io.MultiWriter(f, h)}
	err = write(c)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(f.Name())
		return blob{}, err
	}
	return blob{path: f.Name(), digest: sumOf(h), size: c.n}, nil
}

func (st *stage) bytes(b []byte) (blob, error) {
	return st.create(func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ctxReader ends a stream when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// arrival is one image that is to be committed.
type arrival struct {
	manifest ocispec.Descriptor // with platform
	id       string
	needs    []string // digests of manifest, config and layers
	names    []name.Ref
	exact    bool   // beside another manifest of the same image
	index    string // the digest of the index that it came by, if it was one
}

// commit moves blobs in and names the images, all or nothing. Files that the
// store has already are replaced: what was damaged is mended so.
func (s *Store) commit(blobs map[string]blob, images []arrival) (err error) {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	m := mover{s: s, blobs: blobs, done: map[string]bool{}}
	defer func() {
		if err != nil {
			m.undo()
		}
	}()
	for _, a := range images {
		desc := s.known(idx, a)
		if a.index != "" {
			desc.Annotations[indexAnnotation] = a.index
		}
		if err := m.move(a.needs, desc.Digest == a.manifest.Digest); err != nil {
			return fmt.Errorf("image store: %w", err)
		}
		idx.Manifests = append(idx.Manifests, desc)
		s.tidy(idx)
		for _, n := range a.names {
			s.nameEntry(idx, desc, n)
		}
	}
	if err := syncDir(s.path(blobDir)); err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	return s.writeIndex(idx)
}

// known is the entry of an image that is there already: an image has one
// manifest here, whatever compression its layers come in. One whose blobs are
// not all there is replaced.
func (s *layout) known(idx *ocispec.Index, a arrival) ocispec.Descriptor {
	own := a.manifest
	own.Annotations = map[string]string{configAnnotation: a.id}
	if isIndexType(own.MediaType) || a.exact {
		return own
	}
	for i, d := range idx.Manifests {
		if d.Annotations[configAnnotation] != a.id || isIndexType(d.MediaType) || d.MediaType == dockerManifest {
			continue
		}
		if d.Digest == own.Digest || s.whole(d) {
			d.Annotations = bare(d.Annotations)
			return d
		}
		annotations := d.Annotations
		idx.Manifests[i] = own
		idx.Manifests[i].Annotations = annotations
	}
	return own
}

// readable is an entry of the same image as d, one that other tools read if there
// is one.
func (s *layout) readable(idx *ocispec.Index, d ocispec.Descriptor) ocispec.Descriptor {
	for _, o := range idx.Manifests {
		if o.MediaType == ocispec.MediaTypeImageManifest && o.Annotations[configAnnotation] != "" && o.Annotations[configAnnotation] == d.Annotations[configAnnotation] {
			return o
		}
	}
	return d
}

// whole tells whether all blobs of a manifest are there, by their sizes.
func (s *layout) whole(d ocispec.Descriptor) bool {
	m, err := s.readManifest(string(d.Digest))
	if err != nil {
		return false
	}
	for _, l := range append(m.Layers, m.Config) {
		fi, err := os.Lstat(s.blobPath(string(l.Digest)))
		if err != nil || fi.Size() != l.Size {
			return false
		}
	}
	return true
}

// mover moves a commit's blobs, and back out those that were new.
type mover struct {
	s     *Store
	blobs map[string]blob
	done  map[string]bool
	fresh []moved
}

// moved is a blob that the store did not have.
type moved struct{ from, to string }

// move moves digests in; unless all, only those that the store has already.
func (m *mover) move(digests []string, all bool) error {
	for _, d := range digests {
		if m.done[d] {
			continue
		}
		to := m.s.blobPath(d)
		_, err := os.Lstat(to)
		if err != nil && !all {
			continue
		}
		b, ok := m.blobs[d]
		if !ok {
			if err != nil {
				return fmt.Errorf("blob %s: %w", d, err)
			}
			continue
		}
		if e := os.Rename(b.path, to); e != nil {
			return e
		}
		m.done[d] = true
		if errors.Is(err, os.ErrNotExist) {
			m.fresh = append(m.fresh, moved{b.path, to})
		}
	}
	return nil
}

// undo moves back: what was received need not be received again.
func (m *mover) undo() {
	for _, f := range m.fresh {
		os.Rename(f.to, f.from)
	}
}
