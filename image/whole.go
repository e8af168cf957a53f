package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Piece is a manifest or an index, and what a registry wants to have before it.
type Piece struct {
	Desc   ocispec.Descriptor
	Raw    []byte
	Blobs  []Layer // a manifest's layers; what is no image's has its digest for a diff ID
	Config Layer   // of a manifest
}

// Sent is what a push of an image sends.
type Sent struct {
	ID     string  // of the image; "" for an index that another tool put here
	Pieces []Piece // the one that gets the name last
	// Partial: the image is one for several platforms, of which some are not here: the
	// one piece is for this machine.
	Partial bool
}

// Sending lists what a push of ref sends: the build for a platform, or, for "", all
// that ref stands for.
func (s *Store) Sending(ctx context.Context, ref, plat string) (*Sent, error) {
	out := &Sent{}
	if plat == "" {
		idx, err := s.readIndex()
		if err != nil {
			return nil, err
		}
		found, err := s.find(idx, ref)
		if err != nil {
			return nil, err
		}
		if isIndexType(found[0].MediaType) {
			out.ID = s.entryID(found[0])
			out.Pieces, err = saver{s}.pieces(found[0], map[string]bool{})
			if err == nil {
				return out, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("image %s: %w", ref, err)
			}
			out.Partial = true
		}
	}
	img, err := s.Get(ctx, ref, plat)
	if err != nil {
		return nil, err
	}
	out.ID = img.ID
	d, _, err := s.Manifest(img)
	if err == nil {
		out.Pieces, err = saver{s}.pieces(d, map[string]bool{})
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return out, nil
}

// pieces lists what a descriptor leads to, each once and itself last; a missing blob is
// fs.ErrNotExist.
func (s saver) pieces(d ocispec.Descriptor, seen map[string]bool) ([]Piece, error) {
	if seen[string(d.Digest)] {
		return nil, nil
	}
	seen[string(d.Digest)] = true
	raw, err := s.readBlob(string(d.Digest))
	if err != nil {
		return nil, err
	}
	own := Piece{Desc: ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: int64(len(raw))}, Raw: raw}
	if isIndexType(d.MediaType) {
		var idx ocispec.Index
		if err := json.Unmarshal(raw, &idx); err != nil {
			return nil, fmt.Errorf("%w: index %s: %w", ErrInvalid, d.Digest, err)
		}
		var out []Piece
		for _, sub := range idx.Manifests {
			more, err := s.pieces(sub, seen)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
		return append(out, own), nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("%w: manifest %s: %w", ErrInvalid, d.Digest, err)
	}
	own.Config = Layer{Digest: string(m.Config.Digest), DiffID: string(m.Config.Digest), Size: m.Config.Size}
	if img, err := s.read(d); err == nil {
		own.Blobs = img.Layers
	} else {
		for _, l := range m.Layers {
			own.Blobs = append(own.Blobs, Layer{Digest: string(l.Digest), DiffID: string(l.Digest), MediaType: l.MediaType, Size: l.Size})
		}
	}
	for _, b := range append([]Layer{own.Config}, own.Blobs...) {
		if !isSHA256(b.Digest) {
			return nil, fmt.Errorf("%w: digest %q", ErrInvalid, b.Digest)
		}
		if _, err := os.Lstat(s.blobPath(b.Digest)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return []Piece{own}, nil
}
