package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCommitToFull: a commit that finds no room, wherever it is in its writing, makes no
// image and stops nothing; with room again it succeeds.
func TestCommitToFull(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m,mode=755"); err != nil {
		t.Skipf("mount of a tmpfs is missing: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	m := newMachine(t, dir, "", 0)
	m.ok("run", "-d", net, "--name", "full", "box", "sh", "-c", "head -c 300000 /dev/urandom >/noise; echo ready; exec sleep 1000")
	until(t, "it is ready", func() bool { return strings.Contains(m.ok("logs", "full"), "ready") })
	ballast := filepath.Join(dir, "ballast")
	for _, room := range []int64{0, 8 << 10, 64 << 10, 200 << 10} {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*int64(fs.Bsize)-room); err != nil {
			t.Fatal(err)
		}
		f.Close()
		m.fails(1, "no space left on device", "commit", "full", "never:1")
		if out := m.ok("images", "-q", "never"); out != "" {
			t.Errorf("%d bytes of room: half an image: %s", room, out)
		}
		if s := m.ok("inspect", "-f", "{{.State.Status}}", "full"); s != "running" {
			t.Errorf("%d bytes of room: the container is %s", room, s)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
	m.ok("commit", "full", "made:1")
	m.ok("image", "verify", "made:1")
	m.ok("rm", "-f", "full")
}
