package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coracle/image/name"
	"coracle/image/platform"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's names for what OCI calls an image index and a manifest.
const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

func isIndexType(mt string) bool { return mt == ocispec.MediaTypeImageIndex || mt == dockerList }

// Get implements API.
func (s *Store) Get(ctx context.Context, ref, plat string) (*Image, error) {
	want, err := platform.Parse(plat)
	if err != nil {
		return nil, err
	}
	idx, found, err := s.lookup(ref)
	if errors.Is(err, ErrNotFound) {
		idx, found, err = buildByID(&s.layout, ref, err)
	}
	if err != nil {
		return nil, err
	}
	d, err := s.choose(ref, found, want, plat != "")
	if err != nil {
		return nil, err
	}
	img, err := s.read(d)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	if plat != "" && platform.Rank(want, img.Platform) < 0 {
		if img, err := s.besides(idx, found[0], want); img != nil || err != nil {
			return img, err
		}
		return nil, &PlatformError{Ref: ref, Detail: &platform.Error{Want: want, Have: []ocispec.Platform{img.Platform}}}
	}
	addNames(idx, img, found[0])
	return img, nil
}

// besides is the build for another platform that was pulled by the same index as
// entry, under whatever name; nil where there is none.
func (s *Store) besides(idx *ocispec.Index, entry ocispec.Descriptor, want ocispec.Platform) (*Image, error) {
	index := entry.Annotations[indexAnnotation]
	if index == "" {
		return nil, nil
	}
	whole, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var builds []ocispec.Descriptor
	var have []ocispec.Platform
	for _, d := range whole.Manifests {
		if d.Annotations[indexAnnotation] == index && d.Platform != nil {
			builds, have = append(builds, d), append(have, *d.Platform)
		}
	}
	i := platform.Best(want, have)
	if i < 0 {
		return nil, nil
	}
	img, err := s.read(builds[i])
	if err != nil {
		return nil, err
	}
	addNames(idx, img, entry)
	return img, nil
}

// buildByID finds one build of an image for several platforms by its own ID, which no
// entry has; missing is the error where there is none.
func buildByID(s *layout, ref string, missing error) (*ocispec.Index, []ocispec.Descriptor, error) {
	prefix, ok := name.IsIDPrefix(ref)
	if !ok {
		return nil, nil, missing
	}
	idx, err := s.readIndex()
	if err != nil {
		return nil, nil, err
	}
	var found []ocispec.Descriptor
	for _, e := range idx.Manifests {
		if !isIndexType(e.MediaType) {
			continue
		}
		builds, err := s.flatten(string(e.Digest), 0)
		if err != nil {
			continue
		}
		for _, d := range builds {
			id := s.entryID(d)
			if !strings.HasPrefix(id, prefix) || len(found) > 0 && found[0].Digest == d.Digest {
				continue
			}
			d.Annotations = map[string]string{configAnnotation: id}
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil, missing
	case 1:
		return idx, found, nil
	}
	return nil, nil, fmt.Errorf("%w: %s", ErrAmbiguous, ref)
}

// Builds are the image that ref names for all platforms that the store has it for.
func (s *Store) Builds(ctx context.Context, ref string) ([]*Image, error) {
	idx, found, err := s.lookup(ref)
	if err != nil {
		return nil, err
	}
	var out []*Image
	seen := map[string]bool{}
	for _, e := range found {
		builds := []ocispec.Descriptor{e}
		if isIndexType(e.MediaType) {
			if builds, err = s.flatten(string(e.Digest), 0); err != nil {
				return nil, fmt.Errorf("image %s: %w", ref, err)
			}
		}
		for _, d := range builds {
			if seen[string(d.Digest)] {
				continue
			}
			seen[string(d.Digest)] = true
			img, err := s.read(d)
			if err != nil {
				return nil, fmt.Errorf("image %s: %w", ref, err)
			}
			addNames(idx, img, e)
			out = append(out, img)
		}
	}
	return out, ctx.Err()
}

// PlatformError says that an image is there, and for which platforms.
type PlatformError struct {
	Ref    string
	Detail *platform.Error
}

func (e *PlatformError) Error() string { return "image " + e.Ref + ": " + e.Detail.Error() }

// Unwrap makes it ErrNotFound, as Docker does, and gives the detail.
func (e *PlatformError) Unwrap() []error { return []error{ErrNotFound, e.Detail} }

// choose takes the manifest that serves want best. A single manifest for
// another machine is taken too unless strict: an emulator may run it.
func (s *Store) choose(ref string, found []ocispec.Descriptor, want ocispec.Platform, strict bool) (ocispec.Descriptor, error) {
	var flat []ocispec.Descriptor
	for _, d := range found {
		if !isIndexType(d.MediaType) {
			flat = append(flat, d)
			continue
		}
		sub, err := s.flatten(string(d.Digest), 0)
		if err != nil {
			return d, fmt.Errorf("image %s: %w", ref, err)
		}
		flat = append(flat, sub...)
	}
	if len(flat) == 1 {
		return flat[0], nil
	}
	var have []ocispec.Platform
	for _, d := range flat {
		p := ocispec.Platform{}
		if d.Platform != nil {
			p = *d.Platform
		}
		have = append(have, p)
	}
	if i := platform.Best(want, have); i >= 0 {
		return flat[i], nil
	}
	if !strict && len(found) > 0 && !isIndexType(found[0].MediaType) {
		return found[0], nil
	}
	return ocispec.Descriptor{}, &PlatformError{Ref: ref, Detail: &platform.Error{Want: want, Have: have}}
}

// maxDepth bounds indexes inside indexes; buildx makes one of them.
const maxDepth = 4

func (s *layout) readIndexBlob(digest string) ([]ocispec.Descriptor, error) {
	b, err := s.readBlob(digest)
	if err != nil {
		return nil, err
	}
	var idx ocispec.Index
	if err := json.Unmarshal(b, &idx); err != nil {
		return nil, fmt.Errorf("%w: index %s: %w", ErrInvalid, digest, err)
	}
	return idx.Manifests, nil
}

// flatten lists an image index's manifests, those of indexes inside it too.
// What is for the platform "unknown" is no image (buildx's attestations).
func (s *layout) flatten(digest string, depth int) ([]ocispec.Descriptor, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: indexes inside indexes", ErrInvalid)
	}
	all, err := s.readIndexBlob(digest)
	if err != nil {
		return nil, err
	}
	var out []ocispec.Descriptor
	for _, d := range all {
		if isIndexType(d.MediaType) {
			sub, err := s.flatten(string(d.Digest), depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, sub...)
		} else if d.Platform == nil || d.Platform.OS != "unknown" {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *layout) readManifest(digest string) (*ocispec.Manifest, error) {
	b, err := s.readBlob(digest)
	if err != nil {
		return nil, err
	}
	m := &ocispec.Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrInvalid, digest, err)
	}
	return m, nil
}

// read reads the image of one manifest, without its names.
func (s *Store) read(d ocispec.Descriptor) (*Image, error) {
	m, err := s.readManifest(string(d.Digest))
	if err != nil {
		return nil, err
	}
	b, err := s.readBlob(string(m.Config.Digest))
	if err != nil {
		return nil, err
	}
	img := &Image{ID: string(m.Config.Digest), Manifest: string(d.Digest)}
	if err := json.Unmarshal(b, &img.Config); err != nil {
		return nil, fmt.Errorf("%w: config %s: %w", ErrInvalid, img.ID, err)
	}
	diffs := img.Config.RootFS.DiffIDs
	if len(diffs) != len(m.Layers) {
		return nil, fmt.Errorf("%w: %d layers, but %d diff IDs", ErrInvalid, len(m.Layers), len(diffs))
	}
	ids := make([]string, len(diffs))
	for i, id := range diffs {
		ids[i] = string(id)
	}
	img.Size = m.Config.Size
	for i, chain := range chainIDs(ids) {
		l := m.Layers[i]
		if !isSHA256(string(l.Digest)) || !isSHA256(ids[i]) {
			return nil, fmt.Errorf("%w: layer %q with diff ID %q", ErrInvalid, l.Digest, ids[i])
		}
		img.Layers = append(img.Layers, Layer{Digest: string(l.Digest), MediaType: l.MediaType, Size: l.Size, DiffID: ids[i], ChainID: chain})
		img.Size += l.Size
	}
	img.Platform = img.Config.Platform
	if img.Config.Created != nil {
		img.Created = *img.Config.Created
	}
	return img, nil
}

// addNames gives img the names of all entries of the image that entry names.
func addNames(idx *ocispec.Index, img *Image, entry ocispec.Descriptor) {
	for _, d := range idx.Manifests {
		n, ok := name.OfAnnotations(d.Annotations)
		if !ok || d.Digest != entry.Digest && d.Annotations[configAnnotation] != img.ID {
			continue
		}
		if n.Digest != "" {
			img.RepoDigests = append(img.RepoDigests, n.FamiliarRepo()+"@"+n.Digest)
		}
		if n.Tag != "" {
			n.Digest = ""
			img.RepoTags = append(img.RepoTags, n.Familiar())
		}
	}
	slices.Sort(img.RepoTags)
	img.RepoTags = slices.Compact(img.RepoTags)
	slices.Sort(img.RepoDigests)
	img.RepoDigests = slices.Compact(img.RepoDigests)
}

// List implements API: newest first. An image whose manifest or config cannot
// be read is listed with its ID and names alone, so that it can be removed.
func (s *Store) List(ctx context.Context) ([]*Image, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var out []*Image
	seen := map[string]bool{}
	for _, e := range idx.Manifests {
		d, err := s.choose("", []ocispec.Descriptor{e}, platform.Machine(), false)
		if err != nil {
			d = e
		}
		var img *Image
		if err == nil {
			img, err = s.read(d)
		}
		if err != nil {
			img = &Image{ID: e.Annotations[configAnnotation], Manifest: string(e.Digest), Created: time.Unix(0, 0)}
			if img.ID == "" {
				img.ID = string(e.Digest)
			}
		}
		if seen[img.ID] {
			continue
		}
		seen[img.ID] = true
		addNames(idx, img, e)
		out = append(out, img)
	}
	slices.SortStableFunc(out, func(a, b *Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out, ctx.Err()
}

// mediaTypeOf tells what a manifest's bytes are. The older OCI ones do not say.
func mediaTypeOf(raw []byte) (string, error) {
	var m struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("%w: manifest: %w", ErrInvalid, err)
	}
	if m.MediaType == "" {
		return ocispec.MediaTypeImageManifest, nil
	}
	return m.MediaType, nil
}
