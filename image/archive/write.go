package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/image/name"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Saved is one image that is to be written.
type Saved struct {
	Names []name.Ref         // with tags
	Top   ocispec.Descriptor // its manifest or its index, without a name
	// Config and Layers are those of the build that readers of manifest.json get.
	Config ocispec.Descriptor
	Layers []ocispec.Descriptor
	Blobs  []ocispec.Descriptor // all that Top leads to, Top included
}

// Sink takes the files of an archive.
type Sink interface {
	Put(name string, size int64, r io.Reader) error
}

// Write writes images as `docker save` does since Docker 25: an OCI layout that
// has the older manifest.json and repositories too, so that every reader of either
// finds what it looks for. open gives a blob by its digest; what it gives is
// compared with the digest while it is written.
func Write(ctx context.Context, to Sink, images []Saved, open func(digest string) (io.ReadCloser, error)) error {
	done := map[string]bool{}
	for _, img := range images {
		for _, d := range img.Blobs {
			if done[string(d.Digest)] {
				continue
			}
			done[string(d.Digest)] = true
			if err := writeBlob(ctx, to, d, open); err != nil {
				return err
			}
		}
	}
	for _, f := range []struct {
		name string
		v    any
	}{
		{"index.json", indexOf(images)},
		{"manifest.json", itemsOf(images)},
		{"oci-layout", ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{"repositories", repositoriesOf(images)},
	} {
		if m, ok := f.v.(map[string]map[string]string); ok && len(m) == 0 {
			continue
		}
		b, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		if err := to.Put(f.name, int64(len(b)), strings.NewReader(string(b))); err != nil {
			return err
		}
	}
	return nil
}

func writeBlob(ctx context.Context, to Sink, d ocispec.Descriptor, open func(string) (io.ReadCloser, error)) error {
	r, err := open(string(d.Digest))
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	if err := to.Put(blobName(d), d.Size, io.TeeReader(ctxReader{ctx, r}, sum)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != string(d.Digest) {
		return fmt.Errorf("blob %s is damaged: its digest is %s", d.Digest, got)
	}
	return nil
}

func indexOf(images []Saved) ocispec.Index {
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, img := range images {
		if len(img.Names) == 0 {
			idx.Manifests = append(idx.Manifests, img.Top)
		}
		for _, n := range img.Names {
			d := img.Top
			d.Annotations = map[string]string{name.ContainerdAnnotation: n.String(), name.OCIAnnotation: n.Tag}
			idx.Manifests = append(idx.Manifests, d)
		}
	}
	return idx
}

func itemsOf(images []Saved) []dockerItem {
	items := []dockerItem{}
	for _, img := range images {
		item := dockerItem{Config: blobName(img.Config), Layers: []string{}}
		for _, n := range img.Names {
			item.RepoTags = append(item.RepoTags, n.Familiar())
		}
		for _, l := range img.Layers {
			item.Layers = append(item.Layers, blobName(l))
		}
		items = append(items, item)
	}
	return items
}

// repositoriesOf is the file of Docker before 1.10: names, tags, top layers.
func repositoriesOf(images []Saved) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, img := range images {
		for _, n := range img.Names {
			if len(img.Layers) == 0 {
				continue
			}
			repo := n.FamiliarRepo()
			if out[repo] == nil {
				out[repo] = map[string]string{}
			}
			out[repo][n.Tag] = strings.TrimPrefix(string(img.Layers[len(img.Layers)-1].Digest), "sha256:")
		}
	}
	return out
}

// TarSink writes a tar. Close ends it.
type TarSink struct {
	w    *tar.Writer
	buf  []byte
	dirs map[string]bool
}

// NewTarSink writes to w.
func NewTarSink(w io.Writer) *TarSink {
	return &TarSink{tar.NewWriter(w), make([]byte, 256<<10), map[string]bool{}}
}

var _ Sink = (*TarSink)(nil)

// epoch is the time of all files: the same image makes the same archive.
var epoch = time.Unix(0, 0)

// Put implements Sink.
func (t *TarSink) Put(file string, size int64, r io.Reader) error {
	for dir := range parents(file) {
		if !t.dirs[dir] {
			t.dirs[dir] = true
			if err := t.w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch}); err != nil {
				return err
			}
		}
	}
	if err := t.w.WriteHeader(&tar.Header{Name: file, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	return copyExactly(t.w, r, file, size, t.buf)
}

// parents are the directories that a file is in, the outermost first.
func parents(file string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range file {
			if c == '/' && !yield(file[:i]) {
				return
			}
		}
	}
}

// Close writes the archive's end.
func (t *TarSink) Close() error { return t.w.Close() }

// copyExactly fails unless r has size bytes.
func copyExactly(w io.Writer, r io.Reader, file string, size int64, buf []byte) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, size+1), buf)
	if err == nil && n != size || n > size {
		return fmt.Errorf("%s has not the %d bytes that it should have", file, size)
	}
	return err
}

// DirSink writes an OCI image layout as a directory.
type DirSink struct {
	Dir string

	made []string // what was not there before, in order
}

var _ Sink = (*DirSink)(nil)

// Put implements Sink. A file appears when it is complete; index.json, which makes
// the directory a layout, is among the last.
func (s *DirSink) Put(file string, size int64, r io.Reader) error {
	to := filepath.Join(s.Dir, filepath.FromSlash(file))
	if err := s.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	_, there := os.Lstat(to)
	f, err := os.CreateTemp(filepath.Dir(to), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = copyExactly(f, r, file, size, make([]byte, 256<<10))
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err == nil && there != nil {
		s.made = append(s.made, to)
	}
	return err
}

// mkdir makes a directory and those above it, and remembers which.
func (s *DirSink) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrNotExist) {
		if err = s.mkdir(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, 0o755)
		}
	}
	if st, e := os.Stat(dir); err != nil && e == nil && st.IsDir() {
		return nil
	}
	if err == nil {
		s.made = append(s.made, dir)
	}
	return err
}

// Undo removes what was made: of a layout that could not be completed. A directory
// that somebody has put something into stays.
func (s *DirSink) Undo() {
	for _, path := range slices.Backward(s.made) {
		os.Remove(path)
	}
	s.made = nil
}

// ReadDir reads an OCI image layout, or an archive that somebody has unpacked, in
// the same way as the archive of it. Only plain files are taken.
func ReadDir(ctx context.Context, from, dir string, most int64) (*Archive, error) {
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		t := NewTarSink(w)
		err := walkDir(ctx, from, t)
		if err == nil {
			err = t.Close()
		}
		w.CloseWithError(err)
	}()
	return Read(ctx, r, dir, most)
}

func walkDir(ctx context.Context, from string, to Sink) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		// Our own store, and skopeo's and umoci's layouts, have other files beside
		// those of an image.
		rel = filepath.ToSlash(rel)
		if !strings.HasPrefix(rel, "blobs/") && strings.Contains(rel, "/") && !strings.HasSuffix(rel, "/layer.tar") &&
			!strings.HasSuffix(rel, "/json") && !strings.HasSuffix(rel, "/VERSION") {
			return nil
		}
		f, err := root.Open(rel)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil || !st.Mode().IsRegular() {
			return err
		}
		return to.Put(rel, st.Size(), f)
	})
}
