package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/fs/snapshot"
	"coracle/image/name"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// partialDir holds the blobs that are being received, under their digests. Whoever
// receives one holds a lock on its file; what a killed process leaves is gone on
// with by the next, or deleted after partialAge.
const (
	partialDir = "partial"
	partialAge = 7 * 24 * time.Hour
)

// Incoming is an image that comes in blob by blob. Nothing of it is seen in the
// store before Commit.
type Incoming struct {
	s     *Store
	st    *stage
	parts map[string]*Part
	blobs map[string]blob
	bad   map[string]bool // blobs of the store that are damaged
	drop  bool            // on Close, delete what has come
}

// Receive begins to take an image in. Close it.
func (s *Store) Receive() (*Incoming, error) {
	st, err := s.newStage()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.path(partialDir), 0o700); err != nil {
		st.close()
		return nil, fmt.Errorf("image store: %w", err)
	}
	if _, err := s.RemovePartials(partialAge); err != nil {
		st.close()
		return nil, err
	}
	return &Incoming{s: s, st: st, parts: map[string]*Part{}, blobs: map[string]blob{}, bad: map[string]bool{}}, nil
}

// Close lets go of what was received; blobs that were not committed stay for the
// next attempt.
func (in *Incoming) Close() {
	for _, p := range in.parts {
		p.release(in.drop)
	}
	in.st.close()
}

// Discard has Close delete what has come: it is wrong, or there is no room for it.
func (in *Incoming) Discard() { in.drop = true }

// Bytes takes in a small blob, a manifest or a config.
func (in *Incoming) Bytes(data []byte) error {
	b, err := in.st.bytes(data)
	if err == nil {
		in.blobs[b.digest] = b
	}
	return err
}

// Parts opens the blobs of layers, each once, those of the store included: what
// is there and right is Done. It waits for other processes that receive one of
// them. The locks are taken in one order by everybody, so that two images that
// share layers never wait for each other in a circle.
func (in *Incoming) Parts(ctx context.Context, layers []Layer) (map[string]*Part, error) {
	sorted := slices.Clone(layers)
	slices.SortFunc(sorted, func(a, b Layer) int { return strings.Compare(a.Digest, b.Digest) })
	for _, l := range sorted {
		if p := in.parts[l.Digest]; p != nil {
			if p.size != l.Size {
				return nil, fmt.Errorf("%w: layer %s has %d bytes and %d bytes", ErrInvalid, l.Digest, p.size, l.Size)
			}
			continue
		}
		p, err := in.part(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
		in.parts[l.Digest] = p
	}
	return in.parts, nil
}

func (in *Incoming) part(ctx context.Context, l Layer) (*Part, error) {
	if !isSHA256(l.Digest) {
		return nil, fmt.Errorf("%w: layer digest %q", ErrInvalid, l.Digest)
	}
	hex := strings.TrimPrefix(l.Digest, "sha256:")
	for {
		p, err := in.present(ctx, l, filepath.Join(in.st.dir, "have-"+hex))
		if p != nil || err != nil {
			return p, err
		}
		f, err := waitLock(ctx, in.s.path(partialDir, hex))
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(in.s.blobPath(l.Digest)); err == nil && !in.bad[l.Digest] {
			os.Remove(f.Name()) // another process has just brought it in
			unlockFile(f)
			continue
		}
		return newPart(l, f)
	}
}

// present takes a blob that the store has, if it is right. A link of its own
// keeps the file while another process deletes it from the store.
func (in *Incoming) present(ctx context.Context, l Layer, link string) (*Part, error) {
	at := in.s.blobPath(l.Digest)
	fi, err := os.Lstat(at)
	if err != nil || in.bad[l.Digest] {
		return nil, ctx.Err()
	}
	if fi.Size() == l.Size {
		if err := os.Link(at, link); err == nil {
			at = link
		}
		err := checkFile(ctx, at, l.Digest)
		if err == nil {
			return presentPart(l, at), nil
		}
		os.Remove(link)
		if ctx.Err() != nil || errors.Is(err, os.ErrNotExist) {
			return nil, ctx.Err()
		}
	}
	in.bad[l.Digest] = true
	return nil, nil
}

// SnapshotLayers are layers for snapshot.Driver.Unpack whose streams can be read
// while they are received. read, which may be nil, is told how many bytes of a
// blob have been read.
func (in *Incoming) SnapshotLayers(layers []Layer, read func(digest string, n int64)) []snapshot.Layer {
	diffs := make([]string, len(layers))
	for i, l := range layers {
		diffs[i] = l.DiffID
	}
	out := make([]snapshot.Layer, len(layers))
	for i, chain := range chainIDs(diffs) {
		l := layers[i]
		out[i] = snapshot.Layer{DiffID: l.DiffID, ChainID: chain, Open: func(ctx context.Context) (io.ReadCloser, error) {
			src, err := in.parts[l.Digest].Follow(ctx)
			if err != nil {
				return nil, err
			}
			if read != nil {
				src.read = func(n int64) { read(l.Digest, n) }
			}
			return readLayer(ctx, src, l, true)
		}}
	}
	return out
}

// Commit puts the image into the store: manifest (whose bytes and whose config's
// went through Bytes) with the layers, which must be Done, under names. id is the
// config's digest.
//
// Of one of Docker's manifests there will be two entries, an OCI manifest made of
// it with the tags, and itself with the digests: skopeo and umoci read the first
// only, and the second is what a push sends, so that the digest stays.
func (in *Incoming) Commit(manifest ocispec.Descriptor, id string, layers []Layer, names []name.Ref) error {
	blobs := map[string]blob{id: in.blobs[id], string(manifest.Digest): in.blobs[string(manifest.Digest)]}
	needs := []string{id}
	for _, l := range layers {
		p := in.parts[l.Digest]
		if p == nil || !p.Done() {
			return fmt.Errorf("image store: layer %s is not complete", l.Digest)
		}
		needs = append(needs, l.Digest)
		blobs[l.Digest] = blob{path: p.path, digest: l.Digest, size: l.Size}
	}
	all := []arrival{{manifest: manifest, id: id, needs: append(slices.Clone(needs), string(manifest.Digest)), names: names}}
	if manifest.MediaType == dockerManifest {
		oci, err := in.ociManifest(manifest, blobs)
		if err != nil {
			return err
		}
		all[0].names, all[0].exact = slices.DeleteFunc(slices.Clone(names), func(n name.Ref) bool { return n.Digest == "" }), true
		tags := slices.DeleteFunc(slices.Clone(names), func(n name.Ref) bool { return n.Digest != "" })
		all = append(all, arrival{manifest: oci, id: id, needs: append(slices.Clone(needs), string(oci.Digest)), names: tags})
	}
	for i := range all {
		all[i].index = indexOf(manifest.Digest, names)
	}
	if err := in.s.commit(blobs, all); err != nil {
		return err
	}
	in.drop = true
	return nil
}

// ociManifest says in OCI's terms what one of Docker's manifests says.
func (in *Incoming) ociManifest(docker ocispec.Descriptor, blobs map[string]blob) (ocispec.Descriptor, error) {
	raw, err := os.ReadFile(in.blobs[string(docker.Digest)].path)
	if err != nil {
		return docker, fmt.Errorf("image store: %w", err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return docker, fmt.Errorf("%w: manifest: %w", ErrInvalid, err)
	}
	m.MediaType, m.Config.MediaType = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	for i := range m.Layers {
		l := &m.Layers[i]
		_, pack, _ := strings.Cut(l.MediaType, ".tar")
		if strings.HasPrefix(pack, ".") {
			pack = "+" + pack[1:]
		}
		l.MediaType = ocispec.MediaTypeImageLayer + pack
	}
	if raw, err = json.Marshal(m); err != nil {
		return docker, err
	}
	b, err := in.st.bytes(raw)
	if err != nil {
		return docker, fmt.Errorf("image store: %w", err)
	}
	blobs[b.digest] = b
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(b.digest), Size: b.size, Platform: docker.Platform}, nil
}

// Name gives the image id, which the store has, further names.
func (s *Store) Name(id string, names []name.Ref) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	found, err := s.find(idx, id)
	if err != nil {
		return err
	}
	for _, n := range names {
		has := func(d ocispec.Descriptor) bool {
			o, ok := name.OfAnnotations(d.Annotations)
			return ok && o == n && s.entryID(d) == id
		}
		if !slices.ContainsFunc(idx.Manifests, has) {
			s.nameEntry(idx, s.readable(idx, found[0]), n)
		}
	}
	if index := indexOf(found[0].Digest, names); index != "" {
		for _, d := range idx.Manifests {
			if s.entryID(d) == id && d.Annotations != nil {
				d.Annotations[indexAnnotation] = index
			}
		}
	}
	return s.writeIndex(idx)
}

// Verify reads all blobs of img and compares them with their digests.
func (s *Store) Verify(ctx context.Context, img *Image) error {
	blobs := []string{img.Manifest, img.ID}
	for _, l := range img.Layers {
		blobs = append(blobs, l.Digest)
	}
	var failed []error
	for _, d := range blobs {
		if err := checkFile(ctx, s.blobPath(d), d); err != nil {
			failed = append(failed, fmt.Errorf("%w: %w", ErrDamaged, err))
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// Manifest is the bytes of the manifest that a push of img sends, and what they are:
// Docker's, where that is what it came with.
func (s *Store) Manifest(img *Image) (ocispec.Descriptor, []byte, error) {
	idx, err := s.readIndex()
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	at := img.Manifest
	for _, d := range idx.Manifests {
		if d.MediaType == dockerManifest && d.Annotations[configAnnotation] == img.ID {
			at = string(d.Digest)
			break
		}
	}
	raw, err := s.readBlob(at)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	kind, err := mediaTypeOf(raw)
	return ocispec.Descriptor{MediaType: kind, Digest: digest.Digest(at), Size: int64(len(raw))}, raw, err
}

// OpenBlob opens a blob of the store as it is.
func (s *Store) OpenBlob(digest string) (*os.File, error) {
	if !isSHA256(digest) {
		return nil, fmt.Errorf("%w: digest %q", ErrInvalid, digest)
	}
	f, err := os.Open(s.blobPath(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}

// RemovePartials deletes blobs whose reception was broken off longer than age
// ago, and tells how many bytes that freed.
func (s *layout) RemovePartials(age time.Duration) (freed int64, err error) {
	entries, err := os.ReadDir(s.path(partialDir))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		return 0, fmt.Errorf("image store: %w", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || time.Since(fi.ModTime()) < age {
			continue
		}
		f, err := tryLock(s.path(partialDir, e.Name()))
		if err != nil {
			continue // gone, or being received
		}
		if os.Remove(f.Name()) == nil {
			freed += fi.Size()
		}
		unlockFile(f)
	}
	return freed, nil
}
