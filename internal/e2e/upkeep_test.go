package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestUpkeep: what is damaged of an image, in its blobs or unpacked, is found, and
// mended by a pull under a container that stands on it; and what is removed is gone
// from the disk, on each way of keeping root filesystems.
func TestUpkeep(t *testing.T) {
	needRoot(t)
	addr := registryDaemon(t)
	ref := addr + "/upkeep:1"
	maker := newMachine(t, "", "", 0)
	maker.ok("run", "--name", "made", net, "box", "sh", "-c", "mkdir /data; echo kept >/data/file; echo a >/data/other")
	maker.ok("commit", "made", ref)
	maker.ok("push", "-q", ref)
	for name, c := range map[string]struct {
		backend string
		uid     int
	}{"best": {"", 0}, "copy": {"rootfs=copy", 0}, "ordinary user": {"isolation=userns", ordinary}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", c.backend, c.uid)
			m.ok("pull", "-q", ref)
			m.ok("create", "--name", "before", net, ref, "cat", "/data/file", "/data/other")
			m.ok("image", "verify", ref)
			damage := func(under, name string, do func(path string) error) {
				t.Helper()
				n := 0
				filepath.WalkDir(filepath.Join(m.dir, "root", under), func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, name) && !strings.Contains(path, "/snapshots/") {
						if n++; do(path) != nil {
							t.Errorf("%s: %v", path, err)
						}
					}
					return nil
				})
				if n == 0 {
					t.Fatalf("no %s below %s", name, under)
				}
			}
			damage("fs", "/data/file", func(p string) error { return os.WriteFile(p, []byte("lost"), 0o644) })
			damage("fs", "/data/other", os.Remove)
			if r := m.try("image", "verify", ref); r.code != 1 || !strings.Contains(r.out, "/data/file has ") || !strings.Contains(r.out, "/data/other is missing") {
				t.Errorf("unpacked: %+v", r)
			}
			m.ok("pull", "-q", ref)
			m.ok("image", "verify", ref)
			m.is("kept\na", "run", "--rm", net, ref, "cat", "/data/file", "/data/other")
			damage("images/blobs", "", func(p string) error {
				f, err := os.OpenFile(p, os.O_WRONLY, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.WriteAt([]byte("damage"), 0)
				return err
			})
			if r := m.try("image", "verify"); r.code != 1 || !strings.Contains(r.out, "damaged") {
				t.Errorf("blobs: %+v", r)
			}
			m.ok("pull", "-q", ref)
			m.ok("image", "verify", ref)
			m.ok("rm", "before")
			m.ok("rmi", ref)
			noFiles(t, m, "images/blobs", "fs")
			// A container outlives its image, whose layers go with it.
			m.ok("create", "--name", "last", net, ref, "cat", "/data/file")
			m.ok("rmi", "-f", ref)
			m.is("kept", "start", "-a", "last")
			m.ok("rm", "last")
			noFiles(t, m, "fs")
			m.ok("system", "prune", "-af")
			noFiles(t, m, "images/blobs", "images/partial", "fs")
		})
	}
}

// noFiles fails where a file is left below one of the directories of the state.
func noFiles(t *testing.T, m *machine, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		filepath.WalkDir(filepath.Join(m.dir, "root", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				t.Errorf("left: %s", path)
			}
			return nil
		})
	}
}

// TestLayerLimit: a layer of a registry that unpacks to more than the configured
// limit is refused, and nothing of it stays.
func TestLayerLimit(t *testing.T) {
	needRoot(t)
	addr := registryDaemon(t)
	ref := addr + "/bomb:1"
	maker := newMachine(t, "", "", 0)
	maker.ok("run", "--name", "made", net, "box", "sh", "-c", "head -c 50000000 /dev/zero >/zeros")
	maker.ok("commit", "made", ref)
	maker.ok("push", "-q", ref)
	for name, backend := range map[string]string{"best": "", "copy": "rootfs=copy"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", backend, 0)
			conf := filepath.Join(m.dir, "conf", "coracle")
			if err := os.MkdirAll(conf, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(conf, "config.json"), []byte(`{"max-layer-size": "40MB"}`), 0o644); err != nil {
				t.Fatal(err)
			}
			m.extra = []string{"XDG_CONFIG_HOME=" + filepath.Join(m.dir, "conf")}
			r := m.try("pull", ref)
			if r.code != 1 || !strings.Contains(r.err, "layer is too large: more than 40000000 bytes unpacked") || !strings.Contains(r.err, "max-layer-size") {
				t.Errorf("%+v", r)
			}
			noFiles(t, m, "images/blobs", "fs")
			m.extra = nil
			m.ok("pull", "-q", ref)
		})
	}
}

// TestPullAndPrune: while an image is pulled again and again, others prune and remove
// what they can. No pull fails, and what is there in the end is whole.
func TestPullAndPrune(t *testing.T) {
	needRoot(t)
	addr := registryDaemon(t)
	one, two := addr+"/prune:1", addr+"/prune:2"
	maker := newMachine(t, "", "", 0)
	maker.ok("run", "--name", "made", net, "box", "sh", "-c", "head -c 3000000 /dev/urandom >/data")
	maker.ok("commit", "made", one)
	maker.ok("run", "--name", "more", net, one, "sh", "-c", "head -c 3000000 /dev/urandom >/more")
	maker.ok("commit", "more", two)
	maker.ok("push", "-q", one)
	maker.ok("push", "-q", two)
	for name, c := range map[string]struct {
		backend string
		uid     int
	}{"best": {"", 0}, "copy": {"rootfs=copy", 0}, "ordinary user": {"isolation=userns", ordinary}} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", c.backend, c.uid)
			var pulls, others sync.WaitGroup
			stop := make(chan struct{})
			for _, args := range [][]string{{"system", "prune", "-af"}, {"image", "prune", "-af"}, {"rmi", "-f", two}} {
				others.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(20 * time.Millisecond):
						}
						if r := m.try(args...); r.code != 0 && !strings.Contains(r.err, "No such image") {
							t.Errorf("%q: %+v", args, r)
						}
					}
				})
			}
			for _, ref := range []string{one, two} {
				pulls.Go(func() {
					for range 12 {
						if r := m.try("pull", "-q", ref); r.code != 0 {
							t.Errorf("pull %s: %+v", ref, r)
						}
					}
				})
			}
			pulls.Wait()
			close(stop)
			others.Wait()
			m.ok("pull", "-q", one)
			m.ok("pull", "-q", two)
			m.ok("image", "verify")
			m.is("3000000", "run", "--rm", net, two, "stat", "-c", "%s", "/more")
			m.ok("system", "prune", "-af")
			noFiles(t, m, "images/blobs", "images/partial", "fs")
		})
	}
}

// TestPullOnTerminal: bars of a pull at a terminal, that narrows meanwhile, and one
// line a layer in the end; and a line for each state elsewhere.
func TestPullOnTerminal(t *testing.T) {
	needRoot(t)
	ref := registryDaemon(t) + "/bars:1"
	maker := newMachine(t, "", "", 0)
	maker.ok("run", "--name", "made", net, "box", "sh", "-c", "head -c 20000000 /dev/urandom >/data")
	maker.ok("commit", "made", ref)
	maker.ok("push", "-q", ref)
	m := newMachine(t, "", "", 0)
	s := m.at("pull", ref)
	s.resize(10, 50)
	s.ends(0, "Status: Downloaded newer image for "+ref)
	shown := s.text()
	for _, want := range []string{": Downloading [", "total: ", "B/20MB", "A\x1b[J", ": Pull complete\r\n", "Digest: sha256:"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in %q", want, shown)
		}
	}
	m.ok("rmi", ref)
	if out := m.ok("pull", ref); strings.Contains(out, "\x1b") || strings.Contains(out, "[=") || !strings.Contains(out, ": Pull complete") {
		t.Errorf("without a terminal: %q", out)
	}
}
