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
	return readLayer(ctx, f, l, false)
}

// readLayer reads the tar of a layer whose blob is src. right: src itself does
// not end unless the blob's digest is right.
func readLayer(ctx context.Context, src io.ReadCloser, l Layer, right bool) (io.ReadCloser, error) {
	r := &layerReader{f: src, layer: l, raw: ctxReader{ctx, src}}
	if !right {
		r.blob = sha256.New()
		r.raw = io.TeeReader(r.raw, r.blob)
	}
	tar, kind, err := codec.Auto(r.raw)
	if err != nil {
		src.Close()
		return nil, fmt.Errorf("layer %s: %w: %w", l.Digest, r.blame(), err)
	}
	r.tar = tar
	if kind != codec.Plain || l.Digest != l.DiffID { // else one digest is both
		r.diff = sha256.New()
	}
	return codec.Ahead(r), nil
}

type layerReader struct {
	f     io.Closer
	layer Layer
	raw   io.Reader
	tar   io.ReadCloser
	blob  hash.Hash // nil: checked by who gives us the blob
	diff  hash.Hash // nil: as blob
	err   error
}

// blame is the class of an error in the bytes.
func (r *layerReader) blame() error {
	if r.blob == nil {
		return ErrInvalid // they were made so
	}
	return ErrDamaged
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
			err = fmt.Errorf("%w: %w", r.blame(), err)
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
	if r.blob != nil {
		if got := sumOf(r.blob); got != r.layer.Digest {
			return fmt.Errorf("layer %s: %w: the blob's digest is %s", r.layer.Digest, ErrDamaged, got)
		}
	}
	if r.diff != nil {
		if got := sumOf(r.diff); got != r.layer.DiffID {
			return fmt.Errorf("layer %s: %w: its tar's digest is %s, not %s", r.layer.Digest, r.blame(), got, r.layer.DiffID)
		}
	}
	return io.EOF
}

// Close may be called while another goroutine is in Read: the source ends that.
// What the decoder holds is memory alone.
func (r *layerReader) Close() error { return r.f.Close() }
