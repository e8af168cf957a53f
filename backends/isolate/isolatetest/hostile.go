package isolatetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// magicLinks: an image can hold symbolic links through /proc, whose own links
// the kernel follows to wherever they lead, out of a chroot too. While the stage
// makes the mounts, its current directory and one descriptor are the host's.
func magicLinks(t *testing.T, h Harness) {
	victim := t.TempDir()
	source := t.TempDir()
	tasks := []string{"self", "thread-self"}
	if testing.Short() {
		tasks = tasks[:1]
	}
	for _, via := range []string{"cwd", "fd/4", "fd/5", "fd/6", "fd/7", "fd/8", "fd/9", "fd/10"} {
		for _, task := range tasks {
			x := newBox(t, h)
			if err := os.Symlink("/proc/"+task+"/"+via+victim, filepath.Join(x.spec.Root.Path, "trap")); err != nil {
				t.Fatal(err)
			}
			x.spec.Mounts = append(x.spec.Mounts,
				specs.Mount{Destination: "/trap/bound", Type: "bind", Source: source, Options: []string{"rbind"}},
				specs.Mount{Destination: "/trap/fresh", Type: "tmpfs", Source: "tmpfs"})
			if p, err := x.start("true"); err == nil {
				p.Wait()
			}
			if left, _ := os.ReadDir(victim); len(left) > 0 {
				t.Fatalf("by /proc/%s/%s: made on the host: %v", task, via, left)
			}
		}
	}
}

// falseDevices: an image brings its own /dev/null, a link to a file that the
// hiding of paths would then lay, writable, where it was to hide (CVE-2025-31133).
func falseDevices(t *testing.T, h Harness) {
	x := newBox(t, h)
	root := x.spec.Root.Path
	var kept []specs.Mount
	for _, m := range x.spec.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			kept = append(kept, m)
		}
	}
	x.spec.Mounts = kept
	if err := os.Symlink("/etc/plain", filepath.Join(root, "dev/null")); err != nil {
		t.Fatal(err)
	}
	got, _ := x.run("cat", "/proc/filesystems")
	if strings.Contains(got, "plain") {
		t.Error("the image's /dev/null was bound over a hidden path")
	}
}

// procIsProc: what hides paths in /proc and makes them read-only needs the real
// one there: the image must not put a directory of its own in its place.
func procIsProc(t *testing.T, h Harness) {
	x := newBox(t, h)
	root := x.spec.Root.Path
	os.Remove(filepath.Join(root, "proc"))
	if err := os.Symlink("/tmp", filepath.Join(root, "proc")); err != nil {
		t.Fatal(err)
	}
	if p, err := x.start("sh", "-c", "cat /tmp/filesystems"); err == nil {
		p.Wait()
		t.Error("a symbolic link was taken for /proc")
	}
}

// rootReadOnly: also without root mounts.
func rootReadOnly(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.spec.Root.Readonly = true
	got, ws := x.run("touch", "/new")
	if ws.ExitStatus() == 0 || !strings.Contains(got, "Read-only") {
		t.Errorf("read-only root: %q", got)
	}
	if _, err := os.Lstat(filepath.Join(x.spec.Root.Path, "new")); err == nil {
		t.Error("written")
	}
}

// userAsIs: without a name to resolve, the IDs of the spec are taken as they
// are, whatever the image's passwd says of them.
func userAsIs(t *testing.T, h Harness) {
	if h.UserNS {
		return // the single ID is root
	}
	x := newBox(t, h)
	x.spec.Process.User = specs.User{UID: 1000, GID: 7, AdditionalGids: []uint32{8}}
	x.is("uid=1000(joe) gid=7 groups=7,8", "id")
}

// Hostile runs the tests of what an image or a spec can try.
func Hostile(t *testing.T, newHarness func(t *testing.T) Harness) {
	runAll(t, newHarness, map[string]func(*testing.T, Harness){
		"magic links": magicLinks, "false devices": falseDevices, "proc is proc": procIsProc,
		"read-only root": rootReadOnly, "user as is": userAsIs,
		"init is confined": initIsConfined, "binary of the init": initBinary, "killed monitor": killedMonitor, "sweep without a PID namespace": sweepShared,
	})
}
