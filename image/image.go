// Package image keeps images in a plain OCI image layout and brings archives
// in and out of it. It knows nothing of containers.
package image

import (
	"context"
	"errors"
	"io"
	"time"

	"coracle/fs/snapshot"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The sentinels.
var (
	ErrNotFound  = errors.New("no such image")
	ErrAmbiguous = errors.New("ambiguous image ID prefix")
	ErrInvalid   = errors.New("invalid image")
	ErrInUse     = errors.New("image is in use")
)

// Image is one image of the store.
type Image struct {
	ID          string   // digest of the config, "sha256:…": Docker's image ID
	Manifest    string   // digest of the manifest
	RepoTags    []string // familiar names with tags: "box:latest"
	RepoDigests []string
	Config      dockerspec.DockerOCIImage
	Layers      []Layer
	Created     time.Time
	Platform    ocispec.Platform
	Size        int64 // of the blobs, bytes
}

// Top is the chain ID of all layers of the image; "" where it has none.
func (i *Image) Top() string {
	if len(i.Layers) == 0 {
		return ""
	}
	return i.Layers[len(i.Layers)-1].ChainID
}

// Layer is one layer of an image, base first.
type Layer struct {
	Digest    string // of the blob
	MediaType string
	Size      int64 // of the blob, bytes
	DiffID    string
	ChainID   string
}

// Loaded is one image that Load brought in.
type Loaded struct {
	ID   string
	Refs []string // familiar names; empty for an untagged image
	// Bereft are images that had one of Refs until now.
	Bereft []Bereft
}

// Bereft is an image that lost a name to another.
type Bereft struct{ Ref, ID string }

// ImportOptions are those of `docker import`.
type ImportOptions struct {
	Ref      string   // "" for none
	Message  string   // history comment
	Changes  []string // Dockerfile instructions: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL, HEALTHCHECK, ONBUILD
	Platform string   // os/arch[/variant]; "" for this machine's
}

// API is what the engine needs of a store; *Store is the one implementation.
// Open (store.go) makes it.
type API interface {
	// Get finds an image by name, name:tag, name@digest, ID or ID prefix.
	// platform "" takes the best for this machine.
	Get(ctx context.Context, ref, platform string) (*Image, error)
	List(ctx context.Context) ([]*Image, error)
	// SnapshotLayers are img's layers for snapshot.Driver.Unpack; their Open
	// decompresses and verifies digest and diff ID.
	SnapshotLayers(img *Image) []snapshot.Layer
	Import(ctx context.Context, r io.Reader, opt ImportOptions) (id string, err error)
	// Load reads docker-archive and OCI archives, plain, gzip or zstd.
	Load(ctx context.Context, r io.Reader, opt LoadOptions) ([]Loaded, error)
	Tag(ctx context.Context, source, target string) error
	// Remove untags ref, or deletes the image when ref is an ID or its last
	// tag; it returns Docker's lines: "Untagged: …", "Deleted: …".
	Remove(ctx context.Context, ref string, opt RemoveOptions) ([]string, error)
	// Manifest is the manifest that a push of img sends.
	Manifest(img *Image) (ocispec.Descriptor, []byte, error)
	// Save writes images as `docker save` does.
	Save(ctx context.Context, w io.Writer, refs []string, opt SaveOptions) error
}
