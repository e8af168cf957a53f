package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"coracle/image/codec"
	"coracle/image/name"
	"coracle/image/platform"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is one layer, checked.
type Layer struct {
	File      *File
	MediaType string
	DiffID    string
}

// Image is one image, checked.
type Image struct {
	Names    []name.Ref
	Config   *File
	Raw      []byte // Config's bytes
	Platform ocispec.Platform
	// Also: it is the image before it, for another platform.
	Also   bool
	Layers []Layer // base first
	// Manifest is the archive's own; nil where it has none (docker-archive).
	Manifest     *File
	ManifestType string
	// Listed is the platform that an index says it is for; nil if none does.
	Listed *ocispec.Platform
	// Index is what the image came by, where the archive has all of it; of the first
	// of several builds.
	Index *Index
}

// Index is an index of the archive, whose manifests are all there.
type Index struct {
	File *File
	Type string
	// Besides are manifests of it that are no builds, and what they need: attestations.
	Besides []*File
}

// Images finds the archive's images and checks all of them. Of an image for
// many platforms the best for want, if one serves it, comes first. progress, which may be nil, is
// told about each layer that was checked.
func (a *Archive) Images(ctx context.Context, want ocispec.Platform, progress func(string)) ([]Image, error) {
	if progress == nil {
		progress = func(string) {}
	}
	var images []Image
	var err error
	switch {
	case a.has("manifest.json") && !a.many(): // Docker 25 and later writes index.json too
		images, err = a.docker()
	case a.has("index.json"):
		images, err = a.oci(want)
	case a.has("repositories"):
		images, err = a.legacy(ctx)
	default:
		return nil, invalid("neither docker-archive nor OCI archive: no manifest.json, no index.json")
	}
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, invalid("holds no image")
	}
	if err := unpackAll(ctx, images, a.most); err != nil {
		return nil, err
	}
	for i := range images {
		if err := images[i].check(ctx, a.most, progress); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// unpackAll finds the digests of what packed layers unpack to, several at once.
func unpackAll(ctx context.Context, images []Image, most int64) error {
	var todo []*File
	seen := map[*File]bool{}
	for _, img := range images {
		for _, l := range img.Layers {
			if f := l.File; !seen[f] && f.Kind != codec.Plain && f.diffID == "" {
				seen[f] = true
				todo = append(todo, f)
			}
		}
	}
	// The largest first: the last one should not be waited for alone.
	slices.SortStableFunc(todo, func(a, b *File) int { return cmp.Compare(b.Size, a.Size) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan *File)
	for range min(runtime.NumCPU(), 4, len(todo)) {
		wg.Go(func() {
			for f := range next {
				id, err := f.unpackedDigest(ctx, most)
				if err != nil {
					cancel(fmt.Errorf("layer %s: %w", f.Digest, err))
				}
				f.diffID = id
			}
		})
	}
	for _, f := range todo {
		next <- f
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// many tells whether index.json leads to an image for several platforms, of which
// manifest.json can name one only.
func (a *Archive) many() bool {
	var idx ocispec.Index
	if !a.has("index.json") || a.json("index.json", &idx) != nil {
		return false
	}
	for _, d := range idx.Manifests {
		if d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != dockerList {
			continue
		}
		if found, err := a.walk(d, 0); err == nil && len(found) > 1 {
			return true
		}
	}
	return false
}

// Only keeps of each image the build that serves want best. An image that has none
// is an error.
func Only(images []Image, want ocispec.Platform) ([]Image, error) {
	var out []Image
	for len(images) > 0 {
		n := 1
		for n < len(images) && images[n].Also {
			n++
		}
		have := make([]ocispec.Platform, n)
		for i := range have {
			have[i] = images[i].Platform
		}
		best := platform.Best(want, have)
		if best < 0 {
			return nil, &platform.Error{Want: want, Have: have}
		}
		one := images[best]
		one.Names, one.Also = images[0].Names, false
		out, images = append(out, one), images[n:]
	}
	return out, nil
}

func (a *Archive) has(name string) bool {
	_, err := a.lookup(name)
	return err == nil
}

func (a *Archive) json(name string, into any) error {
	f, err := a.lookup(name)
	if err != nil {
		return err
	}
	b, err := a.small(f, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return invalid("%s: %w", name, err)
	}
	return nil
}

// dockerItem is one image in a docker-archive's manifest.json (moby
// image/tarexport).
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (a *Archive) docker() ([]Image, error) {
	var items []dockerItem
	if err := a.json("manifest.json", &items); err != nil {
		return nil, err
	}
	var out []Image
	for _, item := range items {
		img, err := a.dockerImage(item)
		if err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	return out, nil
}

func (a *Archive) dockerImage(item dockerItem) (img Image, err error) {
	if img.Config, err = a.lookup(item.Config); err != nil {
		return img, err
	}
	if img.Raw, err = a.small(img.Config, "config"); err != nil {
		return img, err
	}
	// The file is called after the image's ID; one that is not would get
	// another ID than it had where it was saved.
	base := strings.TrimSuffix(item.Config[strings.LastIndexByte(item.Config, '/')+1:], ".json")
	if id, ok := name.IsIDPrefix(base); ok && len(base) == 64 && id != img.Config.Digest {
		return img, invalid("config %q has the digest %s", item.Config, img.Config.Digest)
	}
	for _, tag := range item.RepoTags {
		n, err := name.Parse(tag)
		if err != nil {
			return img, invalid("name %q: %w", tag, err)
		}
		img.Names = append(img.Names, n.WithTag())
	}
	if len(item.Layers) > maxLayers {
		return img, invalid("%d layers", len(item.Layers))
	}
	for _, l := range item.Layers {
		f, err := a.lookup(l)
		if err != nil {
			return img, err
		}
		img.Layers = append(img.Layers, Layer{File: f, MediaType: mediaType(f.Kind)})
	}
	return img, nil
}

func mediaType(k codec.Kind) string {
	switch k {
	case codec.Gzip:
		return ocispec.MediaTypeImageLayerGzip
	case codec.Zstd:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// check holds the layers against the config.
func (img *Image) check(ctx context.Context, most int64, progress func(string)) error {
	var c dockerspec.DockerOCIImage
	if err := json.Unmarshal(img.Raw, &c); err != nil {
		return invalid("config %s: %w", img.Config.Digest, err)
	}
	if c.RootFS.Type != "layers" && (c.RootFS.Type != "" || len(img.Layers) > 0) {
		return invalid("config %s: root filesystem of type %q", img.Config.Digest, c.RootFS.Type)
	}
	if c.OS != "" && c.OS != "linux" {
		return invalid("image for the operating system %q", c.OS)
	}
	if got, want := len(c.RootFS.DiffIDs), len(img.Layers); got != want {
		return invalid("layers length mismatch: %d layers, but %d diff IDs", want, got)
	}
	img.Platform = ocispec.Platform{OS: "linux", Architecture: c.Architecture, Variant: c.Variant}
	for i := range img.Layers {
		l := &img.Layers[i]
		l.DiffID = string(c.RootFS.DiffIDs[i])
		if err := l.File.verify(ctx, l.DiffID, most); err != nil {
			return err
		}
		progress("layer " + l.DiffID)
	}
	slices.SortFunc(img.Names, func(a, b name.Ref) int { return strings.Compare(a.Familiar(), b.Familiar()) })
	img.Names = slices.Compact(img.Names)
	return nil
}
