package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/image/archive"
	"coracle/image/name"
	"coracle/image/platform"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// SaveOptions say what of the images is written.
type SaveOptions struct {
	// Platform is the build to write, of images that have several; "": all.
	Platform string
	// Dir: an OCI image layout is made in this directory, instead of a tar.
	Dir string
}

// Save writes images, each under the names that refs give: by an ID it goes
// without, by a repository with all its tags. Layers go as they are kept,
// compressed or not. What is removed meanwhile is written all the same.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string, opt SaveOptions) error {
	images, err := saver{s}.saved(refs, opt.Platform)
	if err != nil {
		return err
	}
	open, done := saver{s}.hold(images)
	defer done()
	if opt.Dir != "" {
		sink := &archive.DirSink{Dir: opt.Dir}
		if err = archive.Write(ctx, sink, images, open); err != nil {
			sink.Undo()
		}
		return saveError(err)
	}
	t := archive.NewTarSink(w)
	if err := archive.Write(ctx, t, images, open); err != nil {
		return saveError(err)
	}
	return saveError(t.Close())
}

// saver finds what is to be saved.
type saver struct{ *Store }

func saveError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("save: %w", err)
}

// saved finds the images that refs name, each once.
func (s saver) saved(refs []string, plat string) ([]archive.Saved, error) {
	want, err := platform.Parse(plat)
	if err != nil {
		return nil, err
	}
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []archive.Saved
	at := map[string]int{} // by the manifest's digest
	for _, ref := range refs {
		found, names, err := s.named(idx, ref)
		if err != nil {
			return nil, err
		}
		for i, d := range found {
			d = s.readable(idx, d)
			if plat != "" {
				if d, err = s.build(idx, ref, d, want); err != nil {
					return nil, err
				}
			}
			n, ok := at[string(d.Digest)]
			if !ok {
				img, err := s.gather(ref, d, want, plat != "")
				if err != nil {
					return nil, err
				}
				n, at[string(d.Digest)] = len(out), len(out)
				out = append(out, img)
			}
			if names != nil && !slices.Contains(out[n].Names, names[i]) {
				out[n].Names = append(out[n].Names, names[i])
			}
		}
	}
	return out, nil
}

// build is the manifest of an entry's image for a platform.
func (s saver) build(idx *ocispec.Index, ref string, entry ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	d, err := s.choose(ref, []ocispec.Descriptor{entry}, want, true)
	if err != nil {
		return d, err
	}
	img, err := s.read(d)
	if err != nil {
		return d, fmt.Errorf("image %s: %w", ref, err)
	}
	if platform.Rank(want, img.Platform) >= 0 {
		return d, nil
	}
	other, err := s.besides(idx, entry, want)
	if err == nil && other == nil {
		err = &PlatformError{Ref: ref, Detail: &platform.Error{Want: want, Have: []ocispec.Platform{img.Platform}}}
	}
	if err != nil {
		return d, err
	}
	d, _, err = s.Manifest(other)
	return d, err
}

// named gives the entries that ref stands for and the name that each is saved
// under; no names for an ID or a digest.
func (s saver) named(idx *ocispec.Index, ref string) ([]ocispec.Descriptor, []name.Ref, error) {
	r, bad := name.Parse(ref)
	if bad == nil && r.Tag == "" && r.Digest == "" {
		var found []ocispec.Descriptor
		var names []name.Ref
		for _, d := range idx.Manifests {
			if n, ok := name.OfAnnotations(d.Annotations); ok && n.Repo() == r.Repo() && n.Tag != "" && n.Digest == "" {
				found, names = append(found, d), append(names, n)
			}
		}
		if len(found) > 0 {
			return found, names, nil
		}
	}
	found, err := s.find(idx, ref)
	if err != nil {
		return nil, nil, err
	}
	if n, ok := name.OfAnnotations(found[0].Annotations); ok && bad == nil && n == r {
		return found[:1], []name.Ref{n}, nil
	}
	return found[:1], nil, nil
}

// gather lists all that is to be written of the image of an entry.
func (s saver) gather(ref string, d ocispec.Descriptor, want ocispec.Platform, strict bool) (archive.Saved, error) {
	top := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
	out := archive.Saved{Top: top}
	one, err := s.choose(ref, []ocispec.Descriptor{d}, want, strict)
	if err != nil && isIndexType(d.MediaType) && !strict {
		// None for this machine: any, for readers who know of one only.
		var all []ocispec.Descriptor
		if all, err = s.flatten(string(d.Digest), 0); err == nil && len(all) == 0 {
			err = fmt.Errorf("%w: index %s is empty", ErrInvalid, d.Digest)
		}
		if err == nil {
			one = all[0]
		}
	}
	if err != nil {
		return out, err
	}
	m, err := s.readManifest(string(one.Digest))
	if err != nil {
		return out, fmt.Errorf("image %s: %w", ref, err)
	}
	out.Config, out.Layers = m.Config, m.Layers
	out.Blobs, err = s.reach(top, 0)
	if err != nil {
		return out, fmt.Errorf("image %s: %w", ref, err)
	}
	return out, nil
}

// reach lists what a descriptor leads to, itself last. Manifests of an index that
// are not here, as other tools leave them out, are passed over.
func (s saver) reach(d ocispec.Descriptor, depth int) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	if isIndexType(d.MediaType) {
		if depth > maxDepth {
			return nil, fmt.Errorf("%w: indexes inside indexes", ErrInvalid)
		}
		subs, err := s.readIndexBlob(string(d.Digest))
		if err != nil {
			return nil, err
		}
		for _, sub := range subs {
			if _, err := os.Lstat(s.blobPath(string(sub.Digest))); errors.Is(err, os.ErrNotExist) {
				continue
			}
			more, err := s.reach(sub, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
		return append(out, plain(d)), nil
	}
	m, err := s.readManifest(string(d.Digest))
	if err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		out = append(out, plain(l))
	}
	return append(out, plain(m.Config), plain(d)), nil
}

func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}

// hold keeps the blobs of images while they are read: by links of our own, where
// the store can be written to.
func (s saver) hold(images []archive.Saved) (open func(string) (io.ReadCloser, error), done func()) {
	st, err := s.newStage()
	if err != nil {
		return func(d string) (io.ReadCloser, error) { return s.OpenBlob(d) }, func() {}
	}
	at := func(d string) string { return filepath.Join(st.dir, "have-"+strings.TrimPrefix(d, "sha256:")) }
	for _, img := range images {
		for _, d := range img.Blobs {
			os.Link(s.blobPath(string(d.Digest)), at(string(d.Digest)))
		}
	}
	return func(d string) (io.ReadCloser, error) {
		if f, err := os.Open(at(d)); err == nil && isSHA256(d) {
			return f, nil
		}
		return s.OpenBlob(d)
	}, st.close
}
