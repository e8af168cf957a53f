package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"coracle/fs/snapshot"
	"coracle/image/codec"
)

// SnapshotLayers implements API.
func (s *Store) SnapshotLayers(img *Image) []snapshot.Layer {
	out := make([]snapshot.Layer, len(img.Layers))
	for i, l := range img.Layers {
		out[i] = snapshot.Layer{DiffID: l.DiffID, ChainID: l.ChainID,
			Open: func(ctx context.Context) (io.ReadCloser, error) { return s.openLayer(ctx, l) }}
	}
	return out
}

// openLayer reads a layer's tar. Both digests are checked as it streams, and
// the end of the stream is an error unless both are right.
func (s *Store) openLayer(ctx context.Context, l Layer) (io.ReadCloser, error) {
	f, err := os.Open(s.blobPath(l.Digest))
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w: %w", l.Digest, ErrDamaged, err)
	}
	r := &layerReader{f: f, layer: l, blob: sha256.New()}
	r.raw = io.TeeReader(ctxReader{ctx, f}, r.blob)
	tar, kind, err := codec.Auto(r.raw)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layer %s: %w: %w", l.Digest, ErrDamaged, err)
	}
	r.tar = tar
	if kind != codec.Plain || l.Digest != l.DiffID { // else one digest is both
		r.diff = sha256.New()
	}
	return r, nil
}

type layerReader struct {
	f     *os.File
	layer Layer
	raw   io.Reader
	tar   io.ReadCloser
	blob  hash.Hash
	diff  hash.Hash // nil: as blob
	err   error
}

func (r *layerReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.tar.Read(p)
	if r.diff != nil {
		r.diff.Write(p[:n])
	}
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		r.err = fmt.Errorf("layer %s: %w", r.layer.Digest, err)
	} else {
		r.err = r.verify()
	}
	return n, r.err
}

func (r *layerReader) verify() error {
	if _, err := io.Copy(io.Discard, r.raw); err != nil { // what stands behind the compressed stream
		return fmt.Errorf("layer %s: %w", r.layer.Digest, err)
	}
	if got := sumOf(r.blob); got != r.layer.Digest {
		return fmt.Errorf("layer %s: %w: the blob's digest is %s", r.layer.Digest, ErrDamaged, got)
	}
	if r.diff != nil {
		if got := sumOf(r.diff); got != r.layer.DiffID {
			return fmt.Errorf("layer %s: %w: its tar's digest is %s, not %s", r.layer.Digest, ErrDamaged, got, r.layer.DiffID)
		}
	}
	return io.EOF
}

func (r *layerReader) Close() error {
	err := r.tar.Close()
	if e := r.f.Close(); err == nil {
		err = e
	}
	return err
}
