package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"coracle/backends/isolate/userns"
	"coracle/engine/fsop"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/fs/snapshot"
)

// Layers are the directories that a container's root is made of.
type Layers struct {
	// Kind is "overlay" or "aufs", after whose manner directories hide what is
	// in those below them, or "flat": a directory is a tree as it is.
	Kind string
	// Image and Root are the image's directories and the container's, the
	// topmost first; of a flat tree there is one at most.
	Image, Root []string
}

// stacked is a driver that keeps a directory a layer (fs/stack).
type stacked interface {
	Base() string
	Lowers(chainID string) ([]string, error)
	Snapshot(id string) (lowers []string, upper, work string, err error)
}

// Layers tells where the files of c's root are, whether it is mounted or not.
func (m *Machine) Layers(c *record.Container) (*Layers, error) {
	d, err := OpenSnapshots(c.Drivers.Rootfs, m.snapshotDir(c.Drivers.Rootfs), snapshot.Options{UserXattr: spec.UserNS(c.Drivers.Isolation)})
	if err != nil {
		return nil, err
	}
	s, ok := d.(stacked)
	if !ok {
		return flatLayers(c, d)
	}
	l := &Layers{Kind: "overlay"}
	if d.Name() == "aufs" {
		l.Kind = "aufs"
	}
	if l.Image, err = s.Lowers(c.Layer); err != nil {
		return nil, err
	}
	for i, dir := range l.Image {
		l.Image[i] = filepath.Join(s.Base(), dir)
	}
	l.Root = l.Image
	if c.View {
		return l, nil
	}
	_, upper, _, err := s.Snapshot(c.ID)
	if err != nil {
		return nil, err
	}
	l.Root = append([]string{filepath.Join(s.Base(), upper)}, l.Image...)
	return l, nil
}

func flatLayers(c *record.Container, d snapshot.Driver) (*Layers, error) {
	l := &Layers{Kind: "flat"}
	if c.Layer != "" {
		mounts, err := d.View(c.Layer)
		if err != nil {
			return nil, err
		}
		if len(mounts) != 1 {
			return nil, fmt.Errorf("image of container %s: no plain tree", c.ID)
		}
		l.Image = []string{mounts[0].Source}
	}
	l.Root = l.Image
	if !c.View {
		l.Root = []string{d.Dir(c.ID)}
	}
	return l, nil
}

// Command starts this program by the name arg0, with files as its descriptors,
// as root of the containers' user namespace where the rung of isolation is that,
// and in a mount namespace of its own.
func (m *Machine) Command(ctx context.Context, isolation, arg0 string, files []*os.File) (wait func() error, err error) {
	if spec.UserNS(isolation) {
		return userns.Command(ctx, m.maps(), arg0, files)
	}
	return fsop.Start(ctx, arg0, files)
}
