package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"coracle/image/name"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PutLayer stores the uncompressed tar r as a layer blob. It becomes part of
// the store when PutImage names it; until then it lives as long as the caller
// does. mediaType "" is OCI's plain tar, the only one that there is here.
func (s *Store) PutLayer(ctx context.Context, r io.Reader, mediaType string) (Layer, error) {
	if mediaType == "" {
		mediaType = ocispec.MediaTypeImageLayer
	}
	if mediaType != ocispec.MediaTypeImageLayer {
		return Layer{}, fmt.Errorf("%w: layer media type %q", ErrInvalid, mediaType)
	}
	st, err := s.newStage()
	if err != nil {
		return Layer{}, err
	}
	b, err := st.create(func(w io.Writer) error {
		_, err := io.Copy(w, ctxReader{ctx, r})
		return err
	})
	if err != nil {
		st.close()
		return Layer{}, fmt.Errorf("store layer: %w", err)
	}
	s.mu.Lock()
	old := s.put[b.digest]
	s.put[b.digest] = st
	st.blob = b
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	return Layer{Digest: b.digest, MediaType: mediaType, Size: b.size, DiffID: b.digest}, nil
}

// PutImage commits an image made of layers that PutLayer returned or that the
// store already has, base first; config's RootFS is filled in from them.
func (s *Store) PutImage(ctx context.Context, config dockerspec.DockerOCIImage, layers []Layer, refs []string) (id string, err error) {
	names, err := parseNames(refs)
	if err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	st, err := s.newStage()
	if err != nil {
		return "", err
	}
	defer st.close()
	blobs := map[string]blob{}
	s.mu.Lock()
	for _, l := range layers {
		if p := s.put[l.Digest]; p != nil {
			delete(s.put, l.Digest)
			defer p.close()
			blobs[l.Digest] = p.blob
		}
	}
	s.mu.Unlock()
	a, err := st.build(config, layers, blobs)
	if err != nil {
		return "", fmt.Errorf("store image: %w", err)
	}
	a.names = names
	return a.id, s.commit(blobs, []arrival{a})
}

func parseNames(refs []string) ([]name.Ref, error) {
	var names []name.Ref
	for _, ref := range refs {
		n, err := name.Parse(ref)
		if err != nil {
			return nil, err
		}
		names = append(names, n.WithTag())
	}
	return names, nil
}

// build writes an image's config and manifest, and adds them to blobs.
func (st *stage) build(config dockerspec.DockerOCIImage, layers []Layer, blobs map[string]blob) (arrival, error) {
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.DiffID))
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return arrival{}, err
	}
	return st.wrap(raw, config.Platform, layers, blobs)
}

// wrap writes the manifest of a config whose bytes are given.
func (st *stage) wrap(config []byte, plat ocispec.Platform, layers []Layer, blobs map[string]blob) (arrival, error) {
	cb, err := st.bytes(config)
	if err != nil {
		return arrival{}, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.Digest(cb.digest), Size: cb.size},
		Layers: []ocispec.Descriptor{}}
	a := arrival{id: cb.digest, needs: []string{cb.digest}}
	for _, l := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.Size})
		a.needs = append(a.needs, l.Digest)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return arrival{}, err
	}
	mb, err := st.bytes(raw)
	if err != nil {
		return arrival{}, err
	}
	blobs[cb.digest], blobs[mb.digest] = cb, mb
	a.needs = append(a.needs, mb.digest)
	a.manifest = ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(mb.digest), Size: mb.size,
		Platform: &ocispec.Platform{OS: plat.OS, Architecture: plat.Architecture, Variant: plat.Variant}}
	return a, nil
}
