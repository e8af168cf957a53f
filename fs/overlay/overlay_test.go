package overlay

import (
	"os"
	"testing"

	"coracle/fs/snapshot"
	"coracle/fs/snapshot/snaptest"
	"coracle/probe"
	"coracle/probe/probetest"

	"golang.org/x/sys/unix"
)

func open(dir string) (snapshot.Driver, error) {
	user := snaptest.UserDir() != ""
	return New(dir, snapshot.Options{Squash: user, UserXattr: user})
}

func TestMain(m *testing.M) { snaptest.Main(m, open) }

func TestConformance(t *testing.T) {
	if dir := snaptest.UserDir(); dir != "" {
		snaptest.Run(t, snaptest.Config{New: open, Dir: dir, Squash: true, CanMount: os.Geteuid() == 0})
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("root is missing, to mount overlayfs")
	}
	for _, f := range snaptest.Filesystems(t) {
		t.Run(f.Name, func(t *testing.T) {
			needOverlay(t, f.Dir)
			snaptest.Run(t, snaptest.Config{New: open, Dir: f.Dir, CanMount: true})
		})
	}
}

// needOverlay skips where the kernel has no overlayfs on this filesystem.
func needOverlay(t *testing.T, dir string) {
	t.Helper()
	probetest.Need(t, probe.Overlay)
	data := "lowerdir=" + dir + "/l,upperdir=" + dir + "/u,workdir=" + dir + "/w"
	for _, d := range []string{"l", "u", "w", "m"} {
		os.Mkdir(dir+"/"+d, 0o755)
		defer os.RemoveAll(dir + "/" + d)
	}
	if err := unix.Mount("overlay", dir+"/m", "overlay", 0, data); err != nil {
		t.Skipf("missing feature: overlay on this filesystem: %v", err)
	}
	unix.Unmount(dir+"/m", unix.MNT_DETACH)
}

func TestInUserNamespace(t *testing.T) {
	probetest.Need(t, probe.OverlayUserNS)
	snaptest.AsUserNS(t, "TestConformance")
}
