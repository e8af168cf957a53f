package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"coracle/image"
	"coracle/image/name"
	"coracle/image/platform"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types: distribution's manifest-v2-2.md and manifest-v2-1.md.
const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig1  = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	schema1        = "application/vnd.docker.distribution.manifest.v1+json"
	schema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	ociForeign     = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

const (
	// maxManifest is what registries take at most (distribution's
	// maxManifestBodySize), and the store.
	maxManifest = 4 << 20
	// maxLayers is more than Docker takes (125) and what overlay mounts of any
	// kernel hold in one page of options.
	maxLayers = 127
	// maxNested bounds the indexes inside indexes that are fetched.
	maxNested = 4
)

// document is a manifest or an index as it came.
type document struct {
	ocispec.Descriptor
	raw []byte
}

var accepted = http.Header{"Accept": {strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerList, dockerManifest, schema1Signed + ";q=0.1"}, ", ")}}

// manifest fetches what ref (a tag or a digest) stands for.
func (s *session) manifest(ctx context.Context, ref string) (*document, error) {
	raw, h, err := s.small(ctx, s.base+"/manifests/"+ref, accepted, maxManifest, "manifest "+ref)
	if err != nil {
		return nil, err
	}
	return readDocument(raw, h.Get("Content-Type"), h.Get("Docker-Content-Digest"), ref)
}

// readDocument checks what came for ref. said is the digest that the server says
// it has; that counts for tags, whose digest nobody knows otherwise.
func readDocument(raw []byte, contentType, said, ref string) (*document, error) {
	sum := sha256.Sum256(raw)
	d := &document{raw: raw}
	d.Digest, d.Size = digest.Digest("sha256:"+hex.EncodeToString(sum[:])), int64(len(raw))
	want := ref
	if !name.IsDigest(ref) {
		want = said
	}
	switch {
	case strings.HasPrefix(want, "sha256:") && want != string(d.Digest):
		return nil, invalid("manifest %s: its bytes have the digest %s, not %s", ref, d.Digest, printable(want, 80))
	case name.IsDigest(ref) && !strings.HasPrefix(ref, "sha256:"):
		return nil, invalid("manifest %s: only sha256 digests can be checked", ref)
	}
	var head struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, invalid("manifest %s: %v", ref, err)
	}
	sent, _, _ := mime.ParseMediaType(contentType)
	if sent == schema1 || sent == schema1Signed || head.SchemaVersion == 1 {
		return nil, invalid("manifest %s has schema version 1, which Docker gave up in 2020 because its digests do not cover the layers: push the image again with a tool of this decade", ref)
	}
	if head.SchemaVersion != 2 {
		return nil, invalid("manifest %s has schema version %d", ref, head.SchemaVersion)
	}
	if d.MediaType = head.MediaType; d.MediaType == "" {
		if d.MediaType = sent; kindOf(sent) == unknown {
			d.MediaType = guess(head.Manifests != nil, head.Layers != nil)
		}
	}
	kind := kindOf(d.MediaType)
	switch {
	case kind == unknown:
		return nil, invalid("manifest %s has the unsupported media type %q", ref, printable(d.MediaType, 100))
	case kindOf(sent) != unknown && kindOf(sent) != kind, kind == index && head.Layers != nil, kind == single && head.Manifests != nil:
		return nil, invalid("manifest %s says that it is %s, and was sent or is written as something else", ref, d.MediaType)
	}
	return d, nil
}

type docKind int

const (
	unknown docKind = iota
	index
	single
)

func kindOf(mediaType string) docKind {
	switch mediaType {
	case ocispec.MediaTypeImageIndex, dockerList:
		return index
	case ocispec.MediaTypeImageManifest, dockerManifest:
		return single
	}
	return unknown
}

// guess is for OCI manifests, which need not say what they are.
func guess(manifests, layers bool) string {
	switch {
	case manifests && !layers:
		return ocispec.MediaTypeImageIndex
	case layers && !manifests:
		return ocispec.MediaTypeImageManifest
	}
	return ""
}

// choose follows an index to the manifest that serves want best. chosen is what
// the index says of its platform, nil for a manifest that no index led to.
func (s *session) choose(ctx context.Context, d *document, want ocispec.Platform) (m *document, chosen *ocispec.Platform, err error) {
	top := d
	for depth := 0; kindOf(d.MediaType) == index; depth++ {
		if depth >= maxNested {
			return nil, nil, invalid("manifest %s: indexes inside indexes inside indexes", top.Digest)
		}
		var idx ocispec.Index
		if err := json.Unmarshal(d.raw, &idx); err != nil {
			return nil, nil, invalid("index %s: %v", d.Digest, err)
		}
		next, err := pick(idx.Manifests, want)
		if err != nil {
			return nil, nil, err
		}
		chosen = next.Platform
		if d, err = s.manifest(ctx, string(next.Digest)); err != nil {
			return nil, nil, err
		}
		if d.Size != next.Size || d.MediaType != next.MediaType {
			return nil, nil, invalid("the index says that manifest %s is %q of %d bytes, but it is %q of %d bytes",
				next.Digest, printable(next.MediaType, 100), next.Size, d.MediaType, d.Size)
		}
	}
	return d, chosen, nil
}

// pick is the best entry of an index. An index inside it that says no platform is
// looked into when nothing else serves.
func pick(all []ocispec.Descriptor, want ocispec.Platform) (*ocispec.Descriptor, error) {
	var have []ocispec.Platform
	var found []*ocispec.Descriptor
	var deeper *ocispec.Descriptor
	for i := range all {
		d := &all[i]
		switch {
		case !strings.HasPrefix(string(d.Digest), "sha256:") || !name.IsDigest(string(d.Digest)):
			return nil, invalid("index: digest %q", printable(string(d.Digest), 100))
		case kindOf(d.MediaType) == unknown:
			// An artifact beside the image: a signature, a list of contents.
		case d.Platform == nil && kindOf(d.MediaType) == index && deeper == nil:
			deeper = d
		case d.Platform == nil && len(all) == 1:
			return d, nil
		case d.Platform != nil && d.Platform.OS != "unknown":
			have, found = append(have, *d.Platform), append(found, d)
		}
	}
	if i := platform.Best(want, have); i >= 0 {
		return found[i], nil
	}
	if deeper != nil {
		return deeper, nil
	}
	return nil, &NoPlatformError{Want: want, Have: have}
}

// NoPlatformError says, in Docker's words first, that an image has no build for a
// platform, and for which it has. It is ErrNotFound.
type NoPlatformError struct {
	Want ocispec.Platform
	Have []ocispec.Platform
}

func (e *NoPlatformError) Error() string {
	var have []string
	for _, p := range e.Have {
		if len(have) == 12 {
			have = append(have, "…")
			break
		}
		have = append(have, printable(platform.String(p), 40))
	}
	return fmt.Sprintf("no matching manifest for %s in the manifest list entries (there are: %s)", platform.String(e.Want), strings.Join(have, ", "))
}

// Unwrap makes it ErrNotFound.
func (e *NoPlatformError) Unwrap() error { return ErrNotFound }

// described is an image before its layers came.
type described struct {
	manifest *document
	config   *document
	image    dockerspec.DockerOCIImage
	layers   []image.Layer
}

// readManifest checks a single manifest and lists its layers, without diff IDs.
func readManifest(d *document) (config ocispec.Descriptor, layers []image.Layer, err error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(d.raw, &m); err != nil {
		return config, nil, invalid("manifest %s: %v", d.Digest, err)
	}
	switch m.Config.MediaType {
	case dockerConfig1, ocispec.MediaTypeImageConfig:
	default:
		kind := m.Config.MediaType
		if m.ArtifactType != "" {
			kind = m.ArtifactType
		}
		return config, nil, invalid("manifest %s is no container image, but %q", d.Digest, printable(kind, 100))
	}
	if len(m.Layers) > maxLayers {
		return config, nil, invalid("manifest %s has %d layers; the most that can be mounted is %d", d.Digest, len(m.Layers), maxLayers)
	}
	if err := checkDescriptor("config", m.Config, maxManifest); err != nil {
		return config, nil, err
	}
	for _, l := range m.Layers {
		if err := checkDescriptor("layer", l, 1<<50); err != nil {
			return config, nil, err
		}
		base, _, _ := strings.Cut(l.MediaType, "+")
		base = strings.TrimSuffix(strings.TrimSuffix(base, ".gzip"), ".zstd")
		switch base {
		case ocispec.MediaTypeImageLayer, dockerLayer:
		case dockerForeign, ociForeign:
			return config, nil, invalid("layer %s is foreign (%s): its bytes are kept elsewhere, as the licence of Windows wants it", l.Digest, l.MediaType)
		default:
			return config, nil, invalid("layer %s has the unsupported media type %q", l.Digest, printable(l.MediaType, 100))
		}
		layers = append(layers, image.Layer{Digest: string(l.Digest), MediaType: l.MediaType, Size: l.Size})
	}
	return m.Config, layers, nil
}

func checkDescriptor(what string, d ocispec.Descriptor, most int64) error {
	switch {
	case !strings.HasPrefix(string(d.Digest), "sha256:") || !name.IsDigest(string(d.Digest)):
		return invalid("%s digest %q is no sha256 digest", what, printable(string(d.Digest), 100))
	case d.Size < 0 || d.Size > most:
		return invalid("%s %s: a size of %d bytes", what, d.Digest, d.Size)
	}
	return nil
}

// readConfig checks an image's config against what led to it, and gives the layers
// their diff IDs. chosen is the platform that an index promised, or nil.
func readConfig(raw []byte, want ocispec.Descriptor, layers []image.Layer, chosen *ocispec.Platform) (*dockerspec.DockerOCIImage, error) {
	sum := sha256.Sum256(raw)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != string(want.Digest) || int64(len(raw)) != want.Size {
		return nil, invalid("config %s of %d bytes: what came has %s and %d bytes", want.Digest, want.Size, got, len(raw))
	}
	img := &dockerspec.DockerOCIImage{}
	if err := json.Unmarshal(raw, img); err != nil {
		return nil, invalid("config %s: %v", want.Digest, err)
	}
	if img.OS != "" && img.OS != "linux" {
		return nil, invalid("image operating system %q cannot be used on this platform", printable(img.OS, 40))
	}
	if chosen != nil && img.Architecture != "" && platform.Rank(*chosen, img.Platform) < 0 {
		return nil, invalid("the index says that the image is for %s, but the image says %s", printable(platform.String(*chosen), 60), printable(platform.String(img.Platform), 60))
	}
	diffs := img.RootFS.DiffIDs
	if len(diffs) != len(layers) {
		return nil, invalid("config %s: %d diff IDs for %d layers", want.Digest, len(diffs), len(layers))
	}
	for i, d := range diffs {
		if !strings.HasPrefix(string(d), "sha256:") || !name.IsDigest(string(d)) {
			return nil, invalid("config %s: diff ID %q", want.Digest, printable(string(d), 100))
		}
		layers[i].DiffID = string(d)
	}
	return img, nil
}

// describe fetches what says what the image is.
func (s *session) describe(ctx context.Context, d *document, want ocispec.Platform) (*described, error) {
	m, chosen, err := s.choose(ctx, d, want)
	if err != nil {
		return nil, err
	}
	desc, layers, err := readManifest(m)
	if err != nil {
		return nil, err
	}
	raw, _, err := s.small(ctx, s.base+"/blobs/"+string(desc.Digest), nil, desc.Size, "config "+string(desc.Digest))
	if err != nil {
		return nil, err
	}
	img, err := readConfig(raw, desc, layers, chosen)
	if err != nil {
		return nil, err
	}
	return &described{manifest: m, config: &document{desc, raw}, image: *img, layers: layers}, nil
}
