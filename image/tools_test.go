package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("program %s is missing", p)
		}
	}
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func loadFile(t *testing.T, s *Store, path string) []Loaded {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := s.Load(context.Background(), f, LoadOptions{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return l
}

// TestSkopeo reads what skopeo writes, and has skopeo read our store.
func TestSkopeo(t *testing.T) {
	need(t, "skopeo", "gzip", "zstd")
	ctx := context.Background()
	s := newStore(t)
	id, err := s.Import(ctx, bytes.NewReader(tree(t, "skopeo")), ImportOptions{Ref: "localhost:5000/a/b:12"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, id, "debian"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"localhost:5000/a/b:12", "debian:latest"} {
		if out := run(t, "skopeo", "inspect", "oci:"+s.dir+":"+ref); !strings.Contains(out, `"Architecture"`) {
			t.Error(out)
		}
	}
	dir := t.TempDir()
	from := "oci:" + s.dir + ":debian:latest"
	for to, refs := range map[string][]string{
		"docker-archive:" + dir + "/da.tar:docker.io/me/app:1": {"me/app:1"},
		"docker-archive:" + dir + "/dn.tar":                    nil,
		"oci-archive:" + dir + "/oa.tar:reg.example/x:2":       {"reg.example/x:2"},
		"oci-archive:" + dir + "/on.tar":                       nil,
		"oci-archive:" + dir + "/ot.tar:latest":                nil,
		"oci-archive:" + dir + "/ob.tar:debian":                {"debian:latest"},
	} {
		run(t, "skopeo", "--insecure-policy", "copy", "-q", from, to)
		path := strings.Split(to, ":")[1]
		for _, program := range []string{"cat", "gzip", "zstd"} {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if program != "cat" {
				b = pack(t, program, b)
			}
			into := newStore(t)
			l, err := into.Load(ctx, bytes.NewReader(b), LoadOptions{})
			if err != nil {
				t.Fatalf("%s %s: %v", to, program, err)
			}
			if len(l) != 1 || !slices.Equal(l[0].Refs, refs) {
				t.Errorf("%s: %+v, want %v", to, l, refs)
			}
			if fsck(t, into.dir) != 1 {
				t.Error("not one image")
			}
			clean(t, into)
			if img, err := into.Get(ctx, l[0].ID, ""); err != nil || img.Layers[0].DiffID != "sha256:"+sum(string(tree(t, "skopeo"))) {
				t.Errorf("%+v, %v", img, err)
			}
		}
	}
	// skopeo may also write beside us.
	run(t, "skopeo", "--insecure-policy", "copy", "-q", from, "oci:"+s.dir+":theirs:1")
	img, err := s.Get(ctx, "theirs:1", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(ctx, img.ID[7:20], ""); err != nil || got.ID != img.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Remove(ctx, "theirs:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "debian", ""); err != nil {
		t.Error(err)
	}
	clean(t, s)
}

// TestUmoci reads an image that umoci made, in a tar of its layout, and has
// umoci unpack ours.
func TestUmoci(t *testing.T) {
	need(t, "umoci", "tar")
	ctx := context.Background()
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	layer := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(layer, tree(t, "umoci"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "umoci", "init", "--layout", layout)
	run(t, "umoci", "new", "--image", layout+":thing")
	run(t, "umoci", "raw", "add-layer", "--image", layout+":thing", layer)
	run(t, "umoci", "config", "--image", layout+":thing", "--config.cmd", "/bin/x")
	archive := filepath.Join(dir, "a.tar")
	run(t, "tar", "-C", layout, "-cf", archive, ".")
	s := newStore(t)
	l := loadFile(t, s, archive)
	if len(l) != 1 || !slices.Equal(l[0].Refs, []string{"thing:latest"}) {
		t.Errorf("%+v", l)
	}
	img, err := s.Get(ctx, "thing", "")
	if err != nil || !slices.Equal(img.Config.Config.Cmd, []string{"/bin/x"}) {
		t.Fatalf("%+v, %v", img, err)
	}
	fsck(t, s.dir)
	bundle := filepath.Join(dir, "bundle")
	run(t, "umoci", "unpack", "--rootless", "--image", s.dir+":thing:latest", bundle)
	if _, err := os.Stat(filepath.Join(bundle, "rootfs/bin/x")); err != nil {
		t.Error(err)
	}
}

// dockerd is a daemon of our own, without network, for docker save.
func dockerd(t *testing.T) string {
	t.Helper()
	need(t, "dockerd", "docker", "containerd")
	if os.Geteuid() != 0 {
		t.Skip("root is missing: it starts dockerd")
	}
	// Sockets have short names.
	dir, err := os.MkdirTemp("", "dd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	host := "unix://" + dir + "/s"
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := exec.Command("dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--host", host, "--storage-driver", "vfs",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--pidfile", dir+"/pid", "--config-file", dir+"/none.json")
	os.WriteFile(dir+"/none.json", []byte("{}"), 0o600)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { c.Wait(); close(done) }()
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			c.Process.Kill()
			<-done
		}
	})
	for range 300 {
		if exec.Command("docker", "-H", host, "version").Run() == nil {
			return host
		}
		select {
		case <-done:
			b, _ := os.ReadFile(log.Name())
			t.Skipf("a dockerd of our own is missing; it ended:\n%s", b)
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("dockerd does not answer")
	return ""
}

// TestDocker loads what docker save writes: names, IDs and layers are Docker's
// own.
func TestDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts dockerd")
	}
	host := dockerd(t)
	ctx := context.Background()
	dir := t.TempDir()
	docker := func(args ...string) string {
		return strings.TrimSpace(run(t, append([]string{"docker", "-H", host}, args...)...))
	}
	layer := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(layer, tree(t, "docker"), 0o600); err != nil {
		t.Fatal(err)
	}
	changes := []string{`CMD ["/bin/x","a b"]`, "ENTRYPOINT run me", `ENV A=1 B="two words" C=$A`, "EXPOSE 80 53/udp 90-91", "LABEL a=b c='d e'",
		"USER 5:6", "VOLUME /data /more", "WORKDIR rel/../x", "HEALTHCHECK --interval=5s --retries=2 CMD true", "ONBUILD RUN x"}
	args := []string{"import", "-m", "hello"}
	for _, c := range changes {
		args = append(args, "-c", c)
	}
	id := docker(append(args, layer, "me/app:1")...)
	docker("tag", "me/app:1", "other:2")
	archive := filepath.Join(dir, "saved.tar")
	docker("save", "-o", archive, "me/app:1", "other:2")
	s := newStore(t)
	l := loadFile(t, s, archive)
	if len(l) != 1 || l[0].ID != id || !slices.Equal(l[0].Refs, []string{"me/app:1", "other:2"}) {
		t.Errorf("%+v, want %s", l, id)
	}
	img, err := s.Get(ctx, "other:2", "")
	if err != nil {
		t.Fatal(err)
	}
	// The same changes make the same config here.
	f, err := os.Open(layer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := s.Import(ctx, f, ImportOptions{Ref: "ours", Message: "hello", Changes: changes}); err != nil {
		t.Fatal(err)
	}
	ours, err := s.Get(ctx, "ours", "")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := asJSON(t, img.Config.Config), asJSON(t, ours.Config.Config); a != b {
		t.Errorf("docker: %s\nours:   %s", a, b)
	}
	docker("save", "-o", archive, id)
	if l := loadFile(t, newStore(t), archive); len(l) != 1 || l[0].ID != id || len(l[0].Refs) != 0 {
		t.Errorf("by ID: %+v", l)
	}
	fsck(t, s.dir)
	clean(t, s)
	dockerRefusals(t, host, s, id, ours.ID)
	dockerLoads(t, docker)
}

// dockerRefusals holds our answers for bad names against Docker's. ids are those of
// all images that one of the two has.
func dockerRefusals(t *testing.T, host string, s *Store, ids ...string) {
	prefix := "sha256:12"
	for n := 0x13; slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, prefix) }); n++ {
		prefix = fmt.Sprintf("sha256:%02x", n)
	}
	for _, ref := range []string{"Debian", "me/App", "a:b:c", "missing", "missing:1", "deadbeef", prefix} {
		out, err := exec.Command("docker", "-H", host, "image", "inspect", ref).CombinedOutput()
		if err == nil {
			t.Fatalf("docker has %s", ref)
		}
		_, err = s.Get(context.Background(), ref, "")
		if err == nil {
			t.Fatalf("we have %s", ref)
		}
		// Docker before 28 does not say which name.
		i, j := strings.Index(err.Error(), " ("), strings.Index(err.Error(), ") ")
		older := err.Error()
		if i > 0 && j > i {
			older = older[:i] + older[j+1:]
		}
		if !strings.Contains(string(out), err.Error()) && !strings.Contains(string(out), older) {
			t.Errorf("%s: docker: %s ours: %v", ref, out, err)
		}
	}
}
