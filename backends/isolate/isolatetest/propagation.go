package isolatetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/probe"
	"coracle/probe/probetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// propagation: a bind that is shared, or a slave, gets what the host mounts later,
// and neither its end nor a sweep unmounts what the host has there.
func propagation(t *testing.T, h Harness) {
	probetest.Need(t, probe.MountProp)
	if h.UserNS && os.Geteuid() != 0 {
		t.Skip("needs root: mount")
	}
	for _, how := range []string{"rshared", "rslave"} {
		host := t.TempDir()
		mount(t, host)
		if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
		os.Mkdir(filepath.Join(host, "before"), 0o755)
		os.Mkdir(filepath.Join(host, "after"), 0o755)
		mount(t, filepath.Join(host, "before"))
		x := newBox(t, h)
		x.spec.Mounts = append(x.spec.Mounts, specs.Mount{Destination: "/m", Type: "bind", Source: host, Options: []string{"rbind", how}})
		p, err := x.start("sh", "-c", "while ! test -e /m/after/f; do sleep 0.05; done; test -e /m/before/f")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"before", "after"} {
			dir := filepath.Join(host, name)
			if name == "after" {
				mount(t, dir)
			}
			if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		late := time.AfterFunc(30*time.Second, func() { p.Signal(unix.SIGKILL) })
		if ws, err := p.Wait(); err != nil || ws.ExitStatus() != 0 {
			t.Errorf("%s: it does not see what the host mounts: %v, %#x", how, err, ws)
		}
		late.Stop()
		if err := h.Driver.Sweep(context.Background(), x.target(p)); err != nil {
			t.Errorf("sweep: %v", err)
		}
		for _, name := range []string{"before", "after"} {
			if _, err := os.Stat(filepath.Join(host, name, "f")); err != nil {
				t.Errorf("%s: the end of the container unmounted what the host has: %v", how, err)
			}
		}
	}
}

// mount mounts an empty filesystem for the time of the test.
func mount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := unix.Unmount(dir, unix.MNT_DETACH)
		if mounts, _ := os.ReadFile("/proc/self/mountinfo"); err != nil && (!errors.Is(err, unix.EINVAL) || strings.Contains(string(mounts), dir)) {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}
