// Package codec unpacks the compressed streams that archives and layers come
// in, with bounded memory. It does not compress.
package codec

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Kind is how a stream is compressed.
type Kind int

// The kinds.
const (
	Plain Kind = iota
	Gzip
	Zstd
	Bzip2
	XZ
)

func (k Kind) String() string {
	switch k {
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	case Bzip2:
		return "bzip2"
	case XZ:
		return "xz"
	}
	return "plain"
}

// ErrUnsupported is for a compression that is known and not undone here.
var ErrUnsupported = errors.New("unsupported compression")

// maxWindow bounds a zstd decoder's memory. It is what the zstd program takes
// without --long (windowLog 27), so whatever others unpack is unpacked here.
const maxWindow = 128 << 20

// Peek is how many bytes Detect wants to see.
const Peek = 6

// Detect tells the compression by a stream's first bytes. The magics are those
// of RFC 1952, RFC 8878 and the file formats of bzip2 and xz.
func Detect(head []byte) Kind {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && head[1] == 0x2a && head[2] == 0x4d && head[3] == 0x18:
		return Zstd
	case bytes.HasPrefix(head, []byte("BZh")):
		return Bzip2
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return XZ
	}
	return Plain
}

// Open gives r's uncompressed bytes. A compressed stream that ends early or is
// damaged is an error of Read. Close does not close r.
func Open(r io.Reader, k Kind) (io.ReadCloser, error) {
	switch k {
	case Plain:
		return io.NopCloser(r), nil
	case Gzip:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", early(err))
		}
		return z, nil
	case Zstd:
		// One goroutine less and half the memory; a layer is unpacked no
		// faster than its files are written.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", early(err))
		}
		return z.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupported, k)
}

// early makes an end inside a header the error that it is.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Auto detects and opens.
func Auto(r io.Reader) (io.ReadCloser, Kind, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	head, err := b.Peek(Peek)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Plain, err
	}
	k := Detect(head)
	rc, err := Open(b, k)
	return rc, k, err
}
