package aufs

import (
	"os"
	"strings"
	"testing"

	"coracle/fs/snapshot"
	"coracle/fs/snapshot/snaptest"
)

func open(dir string) (snapshot.Driver, error) { return New(dir, snapshot.Options{}) }

func TestMain(m *testing.M) { snaptest.Main(m, open) }

func TestConformance(t *testing.T) {
	if data, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(data), "\taufs\n") {
		t.Skip("aufs is missing in this kernel")
	}
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to mount aufs")
	}
	for _, f := range snaptest.Filesystems(t) {
		t.Run(f.Name, func(t *testing.T) {
			snaptest.Run(t, snaptest.Config{New: open, Dir: f.Dir, CanMount: true})
		})
	}
}
