package copytree

import (
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
	if dir := snaptest.UserDir(); dir != "" {
		snaptest.Run(t, snaptest.Config{New: open, Dir: dir, Squash: true})
		return
	}
	for _, f := range snaptest.Filesystems(t) {
		t.Run(f.Name, func(t *testing.T) {
			root := os.Geteuid() == 0
			snaptest.Run(t, snaptest.Config{New: open, Dir: f.Dir, CanMount: root, Squash: !root})
		})
	}
}

func TestAsOrdinaryUser(t *testing.T) { snaptest.AsUser(t, "TestConformance") }
