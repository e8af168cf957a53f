package aufs

import (
	"os"
	"testing"

	"coracle/fs/snapshot"
	"coracle/fs/snapshot/snaptest"
	"coracle/probe"
	"coracle/probe/probetest"
)

func open(dir string) (snapshot.Driver, error) { return New(dir, snapshot.Options{}) }

func TestMain(m *testing.M) { snaptest.Main(m, open) }

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to mount aufs")
	}
	probetest.Need(t, probe.AUFS)
	for _, f := range snaptest.Filesystems(t) {
		t.Run(f.Name, func(t *testing.T) {
			snaptest.Run(t, snaptest.Config{New: open, Dir: f.Dir, CanMount: true})
		})
	}
}
