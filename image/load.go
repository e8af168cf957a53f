package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"

	"coracle/image/archive"
	"coracle/image/platform"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LoadOptions say what of an archive is taken.
type LoadOptions struct {
	// Platform is the build to take of images that have several; "": all, this
	// machine's first.
	Platform string
	// Dir is read instead of a stream: an OCI image layout.
	Dir string
	// Progress, which may be nil, is told of each layer that was checked.
	Progress func(string)
}

// Load implements API. All images of the archive come in, or none does.
func (s *Store) Load(ctx context.Context, r io.Reader, opt LoadOptions) ([]Loaded, error) {
	want, err := platform.Parse(opt.Platform)
	if err != nil {
		return nil, err
	}
	st, err := s.newStage()
	if err != nil {
		return nil, err
	}
	defer st.close()
	images, err := read(ctx, r, st.dir, s.most(), want, opt)
	if err != nil {
		return nil, loadError(err)
	}
	blobs := map[string]blob{}
	var in []arrival
	var out []Loaded
	for len(images) > 0 {
		n := 1
		for n < len(images) && images[n].Also {
			n++
		}
		arr, err := st.arriveAll(images[:n], blobs)
		if err != nil {
			return nil, loadError(err)
		}
		images = images[n:]
		in = append(in, arr)
		l := Loaded{ID: arr.id}
		for _, n := range arr.names {
			l.Refs = append(l.Refs, n.Familiar())
		}
		out = append(out, l)
	}
	if err := ctx.Err(); err != nil {
		return nil, loadError(err)
	}
	if idx, err := s.readIndex(); err == nil {
		for i, a := range in {
			out[i].Bereft = bereft(&s.layout, idx, a)
		}
	}
	if err := s.commit(blobs, in); err != nil {
		return nil, loadError(err)
	}
	return out, nil
}

// bereft are the images that will lose a name to another.
func bereft(s *layout, idx *ocispec.Index, a arrival) []Bereft {
	var out []Bereft
	for _, n := range a.names {
		if found, err := s.find(idx, n.String()); err == nil {
			if id := s.entryID(found[0]); id != "" && id != a.id {
				out = append(out, Bereft{Ref: n.Familiar(), ID: id})
			}
		}
	}
	return out
}

// most is what a file of an archive may unpack to; 0: there is no limit.
func (s *Store) most() int64 {
	if s.Limit == nil {
		return 0
	}
	return s.Limit()
}

// read gives the images of an archive, whose files it puts below dir.
func read(ctx context.Context, r io.Reader, dir string, most int64, want ocispec.Platform, opt LoadOptions) ([]archive.Image, error) {
	var a *archive.Archive
	var err error
	if opt.Dir != "" {
		a, err = archive.ReadDir(ctx, opt.Dir, dir, most)
	} else {
		a, err = archive.Read(ctx, r, dir, most)
	}
	if err != nil {
		return nil, err
	}
	images, err := a.Images(ctx, want, opt.Progress)
	if err != nil || opt.Platform == "" {
		return images, err
	}
	return archive.Only(images, want)
}

// LoadError says why an archive was refused, or what failed.
type LoadError struct{ Err error }

func (e *LoadError) Error() string { return "load: " + e.Err.Error() }

// Unwrap makes it ErrInvalid when the archive is to blame.
func (e *LoadError) Unwrap() []error {
	if errors.Is(e.Err, archive.ErrInvalid) {
		return []error{ErrInvalid, e.Err}
	}
	return []error{e.Err}
}

func loadError(err error) error { return &LoadError{Err: err} }

// arriveAll makes an image ready whose builds for several platforms are all kept,
// behind the archive's index, or behind one of ours that holds those which the archive
// has. It goes by the ID of the first.
func (st *stage) arriveAll(builds []archive.Image, blobs map[string]blob) (arrival, error) {
	first, err := st.arrive(builds[0], blobs)
	if err != nil || len(builds) == 1 {
		return first, err
	}
	all := arrival{id: first.id, names: first.names, needs: first.needs}
	idx := newIndex()
	idx.Manifests = append(idx.Manifests, first.manifest)
	for _, b := range builds[1:] {
		a, err := st.arrive(b, blobs)
		if err != nil {
			return a, err
		}
		all.needs = append(all.needs, a.needs...)
		idx.Manifests = append(idx.Manifests, a.manifest)
	}
	if own := builds[0].Index; own != nil && listedRight(builds) {
		for _, f := range append(own.Besides, own.File) {
			if err := takeFile(f, blobs); err != nil {
				return all, err
			}
			all.needs = append(all.needs, f.Digest)
		}
		all.manifest = ocispec.Descriptor{MediaType: own.Type, Digest: digest.Digest(own.File.Digest), Size: own.File.Size}
		return all, nil
	}
	raw, err := json.Marshal(idx)
	if err != nil {
		return all, err
	}
	ib, err := st.bytes(raw)
	if err != nil {
		return all, err
	}
	blobs[ib.digest] = ib
	all.needs = append(all.needs, ib.digest)
	all.manifest = ocispec.Descriptor{MediaType: idx.MediaType, Digest: digest.Digest(ib.digest), Size: ib.size}
	return all, nil
}

// arrive makes an image of an archive ready to be committed.
func (st *stage) arrive(img archive.Image, blobs map[string]blob) (arrival, error) {
	var layers []Layer
	take := func(f *archive.File) error { return takeFile(f, blobs) }
	for _, l := range img.Layers {
		if err := take(l.File); err != nil {
			return arrival{}, err
		}
		layers = append(layers, Layer{Digest: l.File.Digest, MediaType: l.MediaType, Size: l.File.Size, DiffID: l.DiffID})
	}
	if img.Manifest == nil {
		a, err := st.wrap(img.Raw, img.Platform, layers, blobs)
		a.names = img.Names
		return a, err
	}
	a := arrival{id: img.Config.Digest, names: img.Names, needs: []string{img.Manifest.Digest, img.Config.Digest},
		manifest: ocispec.Descriptor{MediaType: img.ManifestType, Digest: digest.Digest(img.Manifest.Digest),
			Size: img.Manifest.Size, Platform: &img.Platform}}
	for _, l := range layers {
		a.needs = append(a.needs, l.Digest)
	}
	if err := take(img.Config); err != nil {
		return a, err
	}
	return a, take(img.Manifest)
}

// takeFile makes a file of an archive one of those that come in.
func takeFile(f *archive.File, blobs map[string]blob) error {
	if _, ok := blobs[f.Digest]; ok {
		return nil
	}
	blobs[f.Digest] = blob{path: f.Path, digest: f.Digest, size: f.Size}
	return syncFile(f.Path)
}

// listedRight tells whether an index says of all builds what they are for, and nothing
// that they are not: we go by it.
func listedRight(builds []archive.Image) bool {
	return !slices.ContainsFunc(builds, func(b archive.Image) bool {
		return b.Listed == nil || platform.Rank(*b.Listed, b.Platform) < 0
	})
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
