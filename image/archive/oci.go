package archive

import (
	"encoding/json"
	"slices"
	"strings"

	"coracle/image/codec"
	"coracle/image/name"
	"coracle/image/platform"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types, which OCI archives may hold too (distribution
// manifest-v2-2).
const (
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerLayer    = "application/vnd.docker.image.rootfs.diff.tar"
)

// candidate is a manifest that index.json leads to.
type candidate struct {
	desc  ocispec.Descriptor
	names []name.Ref
}

// oci reads index.json. Manifests of one name, or inside one index, are one
// image for many platforms.
func (a *Archive) oci(want ocispec.Platform) ([]Image, error) {
	var idx ocispec.Index
	if err := a.json("index.json", &idx); err != nil {
		return nil, err
	}
	var groups [][]candidate
	var tops [][]ocispec.Descriptor // what a group's manifests come from
	byName := map[string]int{}
	for _, d := range idx.Manifests {
		n, named := name.OfAnnotations(d.Annotations)
		found, err := a.walk(d, 0)
		if err != nil {
			return nil, err
		}
		key := "@" + string(d.Digest)
		switch {
		case named:
			key = n.String()
		case d.Platform != nil:
			key = "" // unnamed builds of one image
		}
		g, ok := byName[key]
		if !ok {
			g = len(groups)
			byName[key] = g
			groups, tops = append(groups, nil), append(tops, nil)
		}
		tops[g] = append(tops[g], d)
		for _, m := range found {
			c := candidate{desc: m}
			if named {
				c.names = []name.Ref{n}
			}
			groups[g] = append(groups[g], c)
		}
	}
	indexes := make([]*Index, len(groups))
	for g, all := range tops {
		if len(all) == 1 {
			indexes[g] = a.index(all[0])
		}
	}
	return a.choose(groups, indexes, want)
}

// index is an index, with what it holds besides builds; nil where something of it is
// missing, or where it is none.
func (a *Archive) index(d ocispec.Descriptor) *Index {
	if d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != dockerList {
		return nil
	}
	var idx ocispec.Index
	f, err := a.blobJSON(d, &idx)
	if err != nil || idx.SchemaVersion != 2 || idx.MediaType != "" && idx.MediaType != d.MediaType || len(idx.Manifests) > maxLayers {
		return nil
	}
	out := &Index{File: f, Type: d.MediaType}
	for _, m := range idx.Manifests {
		if m.MediaType != ocispec.MediaTypeImageManifest && m.MediaType != dockerManifest || !a.whole(m) {
			return nil
		}
		if m.Platform == nil || m.Platform.OS != "unknown" {
			continue
		}
		var parts ocispec.Manifest
		f, err := a.blobJSON(m, &parts)
		if err != nil {
			return nil
		}
		out.Besides = append(out.Besides, f)
		for _, p := range append(parts.Layers, parts.Config) {
			if f, err = a.blob(p); err != nil {
				return nil
			}
			out.Besides = append(out.Besides, f)
		}
	}
	return out
}

// choose makes images of groups, each of builds of one image. A build is taken
// once, with all its names.
func (a *Archive) choose(groups [][]candidate, indexes []*Index, want ocispec.Platform) ([]Image, error) {
	var out []Image
	byManifest := map[string]int{}
	for i, g := range groups {
		index := indexes[i]
		sorted, err := a.bestFirst(g, want)
		if err != nil {
			return nil, err
		}
		also := false
		for _, c := range sorted {
			if i, ok := byManifest[string(c.desc.Digest)]; ok {
				out[i].Names = append(out[i].Names, c.names...)
				index = nil
				continue
			}
			img, err := a.ociImage(c.desc)
			if err != nil {
				return nil, err
			}
			img.Names, img.Also, img.Listed = c.names, also, c.desc.Platform
			if !also {
				img.Index = index
			}
			byManifest[string(c.desc.Digest)] = len(out)
			out = append(out, img)
			also = true
		}
	}
	return out, nil
}

// bestFirst puts the best build for want first. None that serves is no error: an
// emulator may run them.
func (a *Archive) bestFirst(g []candidate, want ocispec.Platform) ([]candidate, error) {
	if len(g) < 2 {
		return g, nil
	}
	have := make([]ocispec.Platform, len(g))
	for i, c := range g {
		if c.desc.Platform != nil {
			have[i] = *c.desc.Platform
			continue
		}
		p, err := a.platformOf(c.desc)
		if err != nil {
			return nil, err
		}
		have[i] = p
	}
	sorted := slices.Clone(g)
	if i := platform.Best(want, have); i > 0 {
		sorted = append([]candidate{g[i]}, slices.Delete(sorted, i, i+1)...)
	}
	return sorted, nil
}

// platformOf asks a manifest's config.
func (a *Archive) platformOf(d ocispec.Descriptor) (ocispec.Platform, error) {
	var m ocispec.Manifest
	var c ocispec.Image
	if _, err := a.blobJSON(d, &m); err != nil {
		return c.Platform, err
	}
	_, err := a.blobJSON(m.Config, &c)
	return c.Platform, err
}

// walk lists the manifests below d; attestations, which buildx adds for the
// platform "unknown", are none.
func (a *Archive) walk(d ocispec.Descriptor, depth int) ([]ocispec.Descriptor, error) {
	if depth > 4 {
		return nil, invalid("indexes inside indexes")
	}
	if d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != dockerList {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			return nil, nil
		}
		return []ocispec.Descriptor{d}, nil
	}
	var idx ocispec.Index
	if _, err := a.blobJSON(d, &idx); err != nil {
		return nil, err
	}
	var out []ocispec.Descriptor
	for _, m := range idx.Manifests {
		// An archive may hold one platform's blobs of an index for many, and
		// Docker with containerd's store writes the manifests of the others.
		if !a.whole(m) {
			continue
		}
		sub, err := a.walk(m, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, sub...)
		if len(out) > maxLayers {
			return nil, invalid("index of more than %d manifests", maxLayers)
		}
	}
	if len(out) == 0 {
		return nil, invalid("holds no manifest of index %s", d.Digest)
	}
	return out, nil
}

// whole tells whether what a manifest of an index needs is here. What cannot be
// read is: the error comes when it is used.
func (a *Archive) whole(d ocispec.Descriptor) bool {
	if _, err := a.lookup(blobName(d)); err != nil {
		return false
	}
	if d.MediaType != ocispec.MediaTypeImageManifest && d.MediaType != dockerManifest {
		return true
	}
	var m ocispec.Manifest
	if _, err := a.blobJSON(d, &m); err != nil {
		return true
	}
	return !slices.ContainsFunc(append(m.Layers, m.Config), func(d ocispec.Descriptor) bool {
		_, err := a.lookup(blobName(d))
		return err != nil
	})
}

// blobName does not ask the digest for its parts: it panics where it has none.
func blobName(d ocispec.Descriptor) string {
	return "blobs/" + strings.Replace(string(d.Digest), ":", "/", 1)
}

// blob finds a descriptor's file; its digest was checked as it was read.
func (a *Archive) blob(d ocispec.Descriptor) (*File, error) {
	if !name.IsDigest(string(d.Digest)) || !strings.HasPrefix(string(d.Digest), "sha256:") {
		return nil, invalid("digest %q", d.Digest)
	}
	f, err := a.lookup(blobName(d))
	if err != nil {
		return nil, err
	}
	if f.Digest != string(d.Digest) { // through a link
		return nil, invalid("blob %s has the digest %s", d.Digest, f.Digest)
	}
	if f.Size != d.Size {
		return nil, invalid("blob %s has %d bytes, not %d", d.Digest, f.Size, d.Size)
	}
	return f, nil
}

func (a *Archive) blobJSON(d ocispec.Descriptor, into any) (*File, error) {
	f, err := a.blob(d)
	if err != nil {
		return nil, err
	}
	b, err := a.small(f, "blob "+f.Digest)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return nil, invalid("blob %s: %w", d.Digest, err)
	}
	return f, nil
}

func (a *Archive) ociImage(d ocispec.Descriptor) (img Image, err error) {
	if d.MediaType != ocispec.MediaTypeImageManifest && d.MediaType != dockerManifest {
		return img, invalid("manifest %s of media type %q", d.Digest, d.MediaType)
	}
	var m ocispec.Manifest
	if img.Manifest, err = a.blobJSON(d, &m); err != nil {
		return img, err
	}
	if m.MediaType != "" && m.MediaType != d.MediaType {
		return img, invalid("manifest %s says its media type is %q, its index %q", d.Digest, m.MediaType, d.MediaType)
	}
	if m.SchemaVersion != 2 {
		return img, invalid("manifest %s of schema version %d", d.Digest, m.SchemaVersion)
	}
	img.ManifestType = d.MediaType
	if mt := m.Config.MediaType; mt != ocispec.MediaTypeImageConfig && mt != dockerConfig {
		return img, invalid("manifest %s is of an artifact (%s), not of a container image", d.Digest, mt)
	}
	if img.Config, err = a.blob(m.Config); err != nil {
		return img, err
	}
	if img.Raw, err = a.small(img.Config, "config"); err != nil {
		return img, err
	}
	if len(m.Layers) > maxLayers {
		return img, invalid("%d layers", len(m.Layers))
	}
	for _, l := range m.Layers {
		f, err := a.ociLayer(l)
		if err != nil {
			return img, err
		}
		img.Layers = append(img.Layers, Layer{File: f, MediaType: l.MediaType})
	}
	return img, nil
}

func (a *Archive) ociLayer(d ocispec.Descriptor) (*File, error) {
	kind := codec.Plain
	switch d.MediaType {
	case ocispec.MediaTypeImageLayer, dockerLayer:
	case ocispec.MediaTypeImageLayerGzip, dockerLayer + ".gzip":
		kind = codec.Gzip
	case ocispec.MediaTypeImageLayerZstd, dockerLayer + ".zstd":
		kind = codec.Zstd
	default:
		return nil, invalid("layer %s of media type %q", d.Digest, d.MediaType)
	}
	f, err := a.blob(d)
	if err != nil {
		return nil, err
	}
	if f.Kind != kind {
		return nil, invalid("layer %s is %s, but of media type %q", d.Digest, f.Kind, d.MediaType)
	}
	return f, nil
}
