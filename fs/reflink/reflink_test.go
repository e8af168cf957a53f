package reflink

import (
	"context"
	"errors"
	"os"
	"testing"

	"coracle/fs/snapshot"
	"coracle/fs/snapshot/snaptest"
)

func open(dir string) (snapshot.Driver, error) {
	return New(dir, snapshot.Options{Squash: os.Geteuid() != 0})
}

func TestMain(m *testing.M) { snaptest.Main(m, open) }

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to mount XFS and btrfs")
	}
	for _, f := range snaptest.Filesystems(t) {
		if f.Name != "xfs" && f.Name != "btrfs" {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			snaptest.Run(t, snaptest.Config{New: open, Dir: f.Dir, CanMount: true})
		})
	}
}

// TestUnsupported: no quiet copy where data cannot be shared.
func TestUnsupported(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to mount a tmpfs")
	}
	d, err := open(snaptest.Tmpfs(t, "size=10m"))
	if err != nil {
		t.Fatal(err)
	}
	img := snaptest.NewImage(snaptest.Tar(t, snaptest.Entry{Name: "f", Body: "f"}))
	if err := d.Unpack(context.Background(), img.Layers); err != nil {
		t.Fatal(err)
	}
	if err := d.Create(context.Background(), "x", img.Top()); !errors.Is(err, snapshot.ErrUnsupported) {
		t.Errorf("create on tmpfs: %v", err)
	}
}
