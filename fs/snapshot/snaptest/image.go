package snaptest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"coracle/fs/snapshot"
)

// Epoch is the modification time of every entry, with nanoseconds.
func Epoch() time.Time { return time.Unix(1234567890, 123456789) }

// Entry is one entry of a layer under test.
type Entry struct {
	Name   string
	Type   byte // 0: a file, or a directory when Name ends in a slash
	Body   string
	Link   string
	Mode   int64 // 0: 0644 or 0755
	UID    int
	GID    int
	Xattrs map[string]string
	Major  int64
	Minor  int64
}

// Tar makes an uncompressed archive.
func Tar(t testing.TB, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{
			Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Mode: e.Mode, Uid: e.UID, Gid: e.GID,
			Size: int64(len(e.Body)), ModTime: Epoch(), Format: tar.FormatPAX,
			Devmajor: e.Major, Devminor: e.Minor,
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if e.Name[len(e.Name)-1] == '/' {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		for k, v := range e.Xattrs {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = v
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Image is an image whose layers tell how often they were opened.
type Image struct {
	Layers []snapshot.Layer
	Opened atomic.Int32
}

// Top is the chain ID of the topmost layer.
func (i *Image) Top() string { return i.Layers[len(i.Layers)-1].ChainID }

// NewImage makes an image of uncompressed archives, base first.
func NewImage(tars ...[]byte) *Image {
	img := &Image{}
	chain := ""
	for _, data := range tars {
		diff := digest(data)
		if chain == "" {
			chain = diff
		} else {
			chain = digest([]byte(chain + " " + diff))
		}
		img.Layers = append(img.Layers, snapshot.Layer{
			DiffID: diff, ChainID: chain,
			Open: func(context.Context) (io.ReadCloser, error) {
				img.Opened.Add(1)
				return io.NopCloser(bytes.NewReader(data)), nil
			},
		})
	}
	return img
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
