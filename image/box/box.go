// Package box makes the image that is always there: its one layer is the
// running binary, which answers as a small userland (package applet), and the
// few files that a root filesystem needs. It is made on first use and again
// when the binary has changed; it needs no network and no file beside the
// binary. The same binary always gives the same image.
package box

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"coracle/image"
	"coracle/image/platform"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Ref is the image's name.
const Ref = "box:latest"

// Label marks an image that this package made.
const Label = "io.coracle.box"

// IsBox reports whether ref names the image.
func IsBox(ref string) bool {
	switch ref {
	case "box", Ref, "docker.io/library/box", "docker.io/library/" + Ref, "library/box", "library/" + Ref:
		return true
	}
	return false
}

// Ensure makes or refreshes the image and returns its ID. Where nothing has
// changed since the last time it costs three stats and the reading of one
// small file. An image that somebody else has named box:latest is left alone.
func Ensure(ctx context.Context, s *image.Store) (id string, err error) {
	return native().ensure(ctx, s)
}

// edition is the image for one platform.
type edition struct {
	ref      string
	stamp    string // file name in the store's directory
	platform ocispec.Platform
	open     func() (*os.File, error) // the binary that it is made of
}

func native() edition { return edition{Ref, "box.stamp", platform.Machine(), running} }

func (e edition) ensure(ctx context.Context, s *image.Store) (id string, err error) {
	bin, err := e.open()
	if err != nil {
		return "", fmt.Errorf("image %s: %w", e.ref, err)
	}
	defer bin.Close()
	fi, err := bin.Stat()
	if err != nil {
		return "", fmt.Errorf("image %s: %w", e.ref, err)
	}
	now := mark{binary: identity(fi), index: indexOf(s)}
	old, oldID := e.readStamp(s)
	if oldID != "" && old == now {
		return oldID, nil
	}
	// The index has changed, or the binary has. Of many that start at once one
	// makes the image.
	unlock, err := lock(ctx, s)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", e.ref, err)
	}
	defer unlock()
	now.index = indexOf(s)
	if old, oldID = e.readStamp(s); oldID != "" && old == now {
		return oldID, nil
	}
	img, err := s.Get(ctx, e.ref, "")
	switch {
	case err == nil && img.Config.Config.Labels[Label] == "":
		return img.ID, nil
	case err == nil && img.ID == oldID && old.binary == now.binary:
		e.writeStamp(s, now, oldID)
		return oldID, nil
	case err != nil && !errors.Is(err, image.ErrNotFound):
		return "", fmt.Errorf("image %s: %w", e.ref, err)
	}
	if id, err = e.build(ctx, s, bin, fi); err != nil {
		return "", fmt.Errorf("make image %s: %w", e.ref, err)
	}
	now.index = indexOf(s)
	e.writeStamp(s, now, id)
	return id, nil
}

// running opens this program's own file, also when it was deleted or replaced
// since; without /proc by its path.
func running() (*os.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err == nil {
		return f, nil
	}
	path, perr := os.Executable()
	if perr != nil {
		return nil, errors.Join(err, perr)
	}
	return os.Open(path)
}

func (e edition) build(ctx context.Context, s *image.Store, bin *os.File, fi os.FileInfo) (string, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(writeLayer(pw, bin, fi.Size())) }()
	layer, err := s.PutLayer(ctx, pr, ocispec.MediaTypeImageLayer)
	pr.CloseWithError(err) // ends the writer if the store gave up
	if err != nil {
		return "", err
	}
	return s.PutImage(ctx, e.config(), []image.Layer{layer}, []string{e.ref})
}

func (e edition) config() dockerspec.DockerOCIImage {
	var c dockerspec.DockerOCIImage
	made := epoch()
	c.Created = &made
	c.Platform = e.platform
	c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	c.Config.Cmd = []string{"sh"}
	c.Config.WorkingDir = "/"
	c.Config.Labels = map[string]string{
		Label:                              "1",
		"org.opencontainers.image.title":   "box",
		"org.opencontainers.image.created": made.Format(time.RFC3339),
	}
	c.History = []ocispec.History{{Created: &made, CreatedBy: "coracle " + platform.String(ocispec.Platform{OS: "linux", Architecture: e.platform.Architecture}), Comment: "made from coracle's binary"}}
	return c
}

// epoch is the time of every file: the image depends on the binary alone.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

func (e edition) stampPath(s *image.Store) string { return filepath.Join(s.Dir(), e.stamp) }
