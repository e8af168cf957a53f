package image

import (
	"context"
	"io"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Store is the image store in one directory.
type Store struct {
	dir string
}

// Open names the store at dir; nothing is made before something is written.
func Open(dir string) (*Store, error) { return &Store{dir: dir}, nil }

// PutLayer stores the uncompressed tar r as a layer blob. It becomes part of
// the store when PutImage names it.
func (s *Store) PutLayer(ctx context.Context, r io.Reader, mediaType string) (Layer, error) {
	return Layer{}, ErrInvalid
}

// PutImage commits an image made of layers that PutLayer returned or that the
// store already has, base first; config's RootFS is filled in from them.
func (s *Store) PutImage(ctx context.Context, config dockerspec.DockerOCIImage, layers []Layer, refs []string) (id string, err error) {
	return "", ErrInvalid
}
