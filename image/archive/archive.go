// Package archive reads the files that `docker save`, skopeo, umoci and others
// put images in: docker-archive and OCI archive, plain or compressed. Nothing
// in them is trusted: what Images returns has been checked, digests and diff
// IDs included. It neither writes archives nor keeps images.
package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"coracle/image/codec"
)

// ErrInvalid is for an archive that is broken, hostile or of no kind known.
var ErrInvalid = errors.New("invalid archive")

const (
	maxEntries = 200_000 // of the outer tar; a hundred images have about 30,000
	maxJSON    = 4 << 20 // of a manifest, config or index; registries take as much
	maxLayers  = 1024    // Docker makes at most 127
	maxLinks   = 8       // one symlink after another
)

// File is a file of the archive on disk.
type File struct {
	Path   string
	Digest string // "sha256:…"
	Size   int64
	Kind   codec.Kind

	diffID string // once known
}

// Archive is one that has been read.
type Archive struct {
	dir   string
	most  int64             // bytes of one file, packed or not; 0: no matter
	files map[string]*File  // by cleaned name
	links map[string]string // name to name, both cleaned
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Read reads r to its end and puts its files below dir, which the caller
// deletes. Nothing but counts and names is held in memory.
//
// A file that is larger than most bytes, or unpacks to more, is an error.
func Read(ctx context.Context, r io.Reader, dir string, most int64) (*Archive, error) {
	a := &Archive{dir: dir, most: most, files: map[string]*File{}, links: map[string]string{}}
	in := &counter{r: ctxReader{ctx, r}}
	plain, _, err := codec.Auto(in)
	if errors.Is(err, codec.ErrUnsupported) {
		return nil, invalid("%w", err)
	}
	if err != nil {
		return nil, streamError(err, 0)
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, streamError(err, n)
		}
		if n >= maxEntries {
			return nil, invalid("more than %d entries", maxEntries)
		}
		if err := a.entry(h, t); err != nil {
			return nil, err
		}
	}
	// The rest is padding, but a compressed stream is only whole at its end.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, streamError(err, len(a.files))
	}
	if in.n == 0 {
		return nil, invalid("the stream is empty")
	}
	return a, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func streamError(err error, entries int) error {
	var path *os.PathError
	switch {
	case errors.As(err, &path), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: cut short after %d entries: %w", ErrInvalid, entries, err)
	case errors.Is(err, tar.ErrHeader) && entries == 0:
		return fmt.Errorf("%w: not a tar archive: %w", ErrInvalid, err)
	}
	return fmt.Errorf("%w: after %d entries: %w", ErrInvalid, entries, err)
}

// cleanName refuses what points outside of the archive.
func cleanName(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", invalid("entry name %q", name)
	}
	clean := path.Clean(name)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", invalid("entry name %q", name)
	}
	return clean, nil
}

func (a *Archive) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
		if sparse(h) {
			return invalid("entry %q is sparse", h.Name)
		}
		if a.most > 0 && h.Size > a.most {
			return invalid("entry %q has %d bytes: the limit is %d", h.Name, h.Size, a.most)
		}
		return a.file(name, h.Size, r)
	case tar.TypeSymlink:
		// docker save up to 24: layer.tar -> ../ID/layer.tar
		return a.link(name, path.Dir(name)+"/"+h.Linkname, h.Linkname)
	case tar.TypeLink:
		return a.link(name, h.Linkname, h.Linkname)
	}
	return invalid("entry %q is of type %q", h.Name, h.Typeflag)
}

// sparse: a few bytes could claim to be petabytes of zeros.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (a *Archive) link(name, target, said string) error {
	if strings.HasPrefix(said, "/") {
		return invalid("link %q to %q", name, said)
	}
	target, err := cleanName(path.Clean(target))
	if err != nil {
		return invalid("link %q to %q", name, said)
	}
	if a.files[name] != nil || a.links[name] != "" && a.links[name] != target {
		return invalid("two entries are called %q", name)
	}
	a.links[name] = target
	return nil
}

// file writes one file out. The name of an OCI blob is its digest, which is
// checked here, before anybody uses it.
func (a *Archive) file(name string, size int64, r io.Reader) error {
	f, err := write(filepath.Join(a.dir, "entry-"+strconv.Itoa(len(a.files))), size, r, name)
	if err != nil {
		return err
	}
	if hexa, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && "sha256:"+hexa != f.Digest {
		return invalid("blob %q has the digest %s", name, f.Digest)
	}
	old := a.files[name]
	if old != nil && old.Digest == f.Digest { // as in archives that were appended to
		return os.Remove(f.Path)
	}
	if old != nil || a.links[name] != "" {
		return invalid("two entries are called %q", name)
	}
	a.files[name] = f
	return nil
}

func write(to string, size int64, r io.Reader, name string) (*File, error) {
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil && errors.Is(err, os.ErrExist) { // a duplicate took the number
		w, err = os.CreateTemp(filepath.Dir(to), "entry-")
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	b := bufio.NewReaderSize(r, 64<<10)
	head, _ := b.Peek(codec.Peek)
	kind := codec.Detect(head)
	n, err := io.Copy(io.MultiWriter(w, sum), b)
	if e := w.Close(); err == nil {
		err = e
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("entry %q: %w", name, streamError(err, 1))
	case n != size:
		return nil, invalid("entry %q has %d bytes, not %d", name, n, size)
	}
	return &File{Path: w.Name(), Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: n, Kind: kind}, nil
}

// lookup finds a file by the name that a manifest gives, links followed.
func (a *Archive) lookup(name string) (*File, error) {
	clean, err := cleanName(name)
	if err != nil {
		return nil, err
	}
	for range maxLinks {
		if f := a.files[clean]; f != nil {
			return f, nil
		}
		next, ok := a.links[clean]
		if !ok {
			return nil, invalid("%q is missing", name)
		}
		clean = next
	}
	return nil, invalid("links at %q", name)
}

// small reads a file of JSON.
func (a *Archive) small(f *File, what string) ([]byte, error) {
	if f.Size > maxJSON {
		return nil, invalid("%s of %d bytes", what, f.Size)
	}
	return os.ReadFile(f.Path)
}

// verify makes sure that f unpacks to the tar that diffID names.
func (f *File) verify(ctx context.Context, diffID string, most int64) error {
	if f.Kind == codec.Plain {
		f.diffID = f.Digest
	}
	if f.diffID == "" {
		id, err := f.unpackedDigest(ctx, most)
		if err != nil {
			return fmt.Errorf("layer %s: %w", f.Digest, err)
		}
		f.diffID = id
	}
	if f.diffID != diffID {
		return invalid("layer %s has the diff ID %s, not %s as its config says", f.Digest, f.diffID, diffID)
	}
	return nil
}

func (f *File) unpackedDigest(ctx context.Context, most int64) (string, error) {
	if f.Kind != codec.Gzip && f.Kind != codec.Zstd {
		return "", invalid("compressed by %s", f.Kind)
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	plain, err := codec.Open(ctxReader{ctx, file}, f.Kind)
	if err != nil {
		return "", streamError(err, 1)
	}
	defer plain.Close()
	sum := sha256.New()
	tar := io.Reader(plain)
	if most > 0 {
		tar = io.LimitReader(plain, most+1)
	}
	n, err := io.Copy(sum, tar)
	if err != nil {
		return "", streamError(err, 1)
	}
	if most > 0 && n > most {
		return "", invalid("layer %s unpacks to more than %d bytes, the limit", f.Digest, most)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

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
