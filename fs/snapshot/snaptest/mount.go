package snaptest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Mount mounts what a driver said, as the container's second stage does, and
// unmounts it when the test ends. It returns the mount point.
func Mount(t testing.TB, mounts []specs.Mount) string {
	t.Helper()
	target := t.TempDir()
	for _, m := range mounts {
		if err := mountOne(m, target); err != nil {
			t.Fatalf("mount %+v: %v", m, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", target, err)
			}
		})
	}
	return target
}

// mountOne works on a thread of its own that does not share the current
// directory, and which ends with its goroutine.
func mountOne(m specs.Mount, target string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			var flags uintptr
			var data []string
			for _, o := range m.Options {
				switch {
				case o == "ro":
					flags |= unix.MS_RDONLY
				case o == "rw":
				case o == "bind":
					flags |= unix.MS_BIND
				case strings.HasPrefix(o, "x-chdir="):
					if err := unix.Unshare(unix.CLONE_FS); err != nil {
						return err
					}
					if err := unix.Chdir(strings.TrimPrefix(o, "x-chdir=")); err != nil {
						return err
					}
				default:
					data = append(data, o)
				}
			}
			if err := unix.Mount(m.Source, target, m.Type, flags, strings.Join(data, ",")); err != nil {
				return err
			}
			if flags&unix.MS_BIND != 0 && flags&unix.MS_RDONLY != 0 {
				return unix.Mount("", target, "", flags|unix.MS_REMOUNT, "")
			}
			return nil
		}()
	}()
	return <-done
}

// FS is a filesystem to test on.
type FS struct {
	Name string
	Dir  string
}

// Filesystems mounts one of each kind that this machine can make: tmpfs, and
// ext4, XFS and btrfs on loop devices. It needs root; without, it is the
// directory for temporary files alone.
func Filesystems(t *testing.T) []FS {
	t.Helper()
	if os.Geteuid() != 0 || InUserNS() {
		return []FS{{"tmpdir", t.TempDir()}}
	}
	all := []FS{{"tmpfs", Tmpfs(t, "size=256m")}}
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		if dir := loop(t, kind); dir != "" {
			all = append(all, FS{kind, dir})
		}
	}
	return all
}

// Tmpfs mounts a tmpfs until the test ends.
func Tmpfs(t testing.TB, data string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, data); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func loop(t *testing.T, kind string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Logf("no mkfs.%s: not tested on %s", kind, kind)
		return ""
	}
	image := filepath.Join(t.TempDir(), kind)
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 400<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs, err, out)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", "-t", kind, image, dir).CombinedOutput(); err != nil {
		t.Logf("mount %s: %v: %s: not tested on it", kind, err, out)
		return ""
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// InUserNS tells whether our IDs are mapped.
func InUserNS() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(data)), " ") != "0 0 4294967295"
}
