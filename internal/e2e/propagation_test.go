package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPropagation: mounts of the host that a container sees, and the other way
// round where the rung can.
func TestPropagation(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			host := filepath.Join(m.dir, "host")
			os.Mkdir(host, 0o755)
			m.mountOn(host, unix.MS_PRIVATE)
			m.fails(125, "path "+host+" is mounted on "+host+" but it is not a shared mount", "run", "--rm", net, "-v", host+":/m:shared", "box", "true")
			m.fails(125, "path "+host+" is mounted on "+host+" but it is not a shared or slave mount", "run", "--rm", net, "-v", host+":/m:rslave", "box", "true")
			if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "b"} {
				os.Mkdir(filepath.Join(host, name), 0o755)
			}
			got := m.try("run", "-d", "--name", "peer", net, "--privileged", "--mount", "type=bind,source="+host+",target=/m,bind-propagation=rshared", "box", "sleep", "600")
			if got.code != 0 {
				t.Fatalf("%+v", got)
			}
			b := filepath.Join(host, "b")
			m.mountOn(b, unix.MS_SHARED)
			os.WriteFile(filepath.Join(b, "f"), nil, 0o644)
			m.ok("exec", "peer", "test", "-e", "/m/b/f")
			if shares := r.name == "namespaces" && m.try("probe", "--check", "mount.newapi").code == 0; shares {
				m.ok("exec", "--privileged", "peer", "mount", "-t", "tmpfs", "inner", "/m/a")
				if mounts, _ := os.ReadFile("/proc/self/mountinfo"); !strings.Contains(string(mounts), " "+host+"/a ") {
					t.Errorf("the host does not see what the container mounts:\n%s", mounts)
				}
				m.ok("exec", "--privileged", "peer", "umount", "/m/a")
				if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), " "+host+"/a ") {
					t.Error("the host still has what the container has unmounted")
				}
			}
			if r.name == "userns" {
				m.fails(125, "bind-propagation rshared", "--strict", "run", "--rm", net, "-v", host+":/m:rshared", "box", "true")
			}
			m.ok("rm", "-f", "peer")
			if _, err := os.Stat(filepath.Join(b, "f")); err != nil {
				t.Errorf("the end of the container unmounted what the host has: %v", err)
			}
		})
	}
}

// mountOn mounts an empty filesystem on the host for the time of the test.
func (m *machine) mountOn(dir string, propagation uintptr) {
	m.t.Helper()
	err := unix.Mount("test", dir, "tmpfs", 0, "size=1m")
	if err == nil {
		err = unix.Mount("", dir, "", propagation, "")
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}
