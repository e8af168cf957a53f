package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// saved is what Save writes, as files by name.
func saved(t *testing.T, s *Store, opt SaveOptions, refs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Save(context.Background(), &b, refs, opt); err != nil {
		t.Fatalf("save %q: %v", refs, err)
	}
	return b.Bytes()
}

// twoTags is a store with one image of two layers under two names, one gzip'ed,
// and another that shares its base.
func twoTags(t *testing.T) (s *Store, one, two string) {
	t.Helper()
	ctx := context.Background()
	s = newStore(t)
	one, err := s.Import(ctx, bytes.NewReader(pack(t, "gzip", tree(t, "base"))), ImportOptions{Ref: "me/app:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, one, "me/app:2"); err != nil {
		t.Fatal(err)
	}
	img, err := s.Get(ctx, one, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.PutLayer(ctx, bytes.NewReader(tree(t, "top")), "")
	if err != nil {
		t.Fatal(err)
	}
	two, err = s.PutImage(ctx, img.Config, append(slices.Clone(img.Layers), l), []string{"localhost:5000/other"})
	if err != nil {
		t.Fatal(err)
	}
	return s, one, two
}

func TestSave(t *testing.T) {
	ctx := context.Background()
	s, one, two := twoTags(t)
	for _, c := range []struct {
		name string
		refs []string
		want []Loaded
	}{
		{"a tag", []string{"me/app:2"}, []Loaded{{one, []string{"me/app:2"}, nil}}},
		{"a repository", []string{"me/app"}, []Loaded{{one, []string{"me/app:1", "me/app:2"}, nil}}},
		{"an ID", []string{one[7:20]}, []Loaded{{one, nil, nil}}},
		{"twice", []string{"me/app:1", one, "me/app:1"}, []Loaded{{one, []string{"me/app:1"}, nil}}},
		{"two", []string{"localhost:5000/other", "me/app:1"}, []Loaded{{two, []string{"localhost:5000/other:latest"}, nil}, {one, []string{"me/app:1"}, nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := saved(t, s, SaveOptions{}, c.refs...)
			if again := saved(t, s, SaveOptions{}, c.refs...); !bytes.Equal(b, again) {
				t.Error("the same images make another archive")
			}
			for _, program := range []string{"cat", "gzip", "zstd"} {
				in := b
				if program != "cat" {
					in = pack(t, program, b)
				}
				into := newStore(t)
				got, err := into.Load(ctx, bytes.NewReader(in), LoadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if asJSON(t, got) != asJSON(t, c.want) {
					t.Errorf("%s: %+v, want %+v", program, got, c.want)
				}
				a, err := s.Get(ctx, c.want[0].ID, "")
				if err != nil {
					t.Fatal(err)
				}
				if o, err := into.Get(ctx, c.want[0].ID, ""); err != nil || asJSON(t, o.Config) != asJSON(t, a.Config) || asJSON(t, o.Layers) != asJSON(t, a.Layers) {
					t.Errorf("%+v, %v, want %+v", o, err, a)
				}
				fsck(t, into.dir)
				clean(t, into)
			}
		})
	}
	clean(t, s)
	for ref, want := range map[string]error{"missing": ErrNotFound, "me/app:3": ErrNotFound, "me/app@sha256:" + strings.Repeat("0", 64): ErrNotFound} {
		var b bytes.Buffer
		if err := s.Save(ctx, &b, []string{"me/app:1", ref}, SaveOptions{}); !errors.Is(err, want) || b.Len() > 0 {
			t.Errorf("%s: %v, %d bytes", ref, err, b.Len())
		}
	}
}

// TestSaveDamaged: what is not right is not handed on as if it were.
func TestSaveDamaged(t *testing.T) {
	s, one, _ := twoTags(t)
	img, err := s.Get(context.Background(), one, "")
	if err != nil {
		t.Fatal(err)
	}
	layer := s.blobPath(img.Layers[0].Digest)
	b, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"shorter": b[:len(b)-1], "longer": append(slices.Clone(b), 0), "other": append(slices.Clone(b[:len(b)-1]), b[len(b)-1]^1)} {
		if err := os.WriteFile(layer, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := s.Save(context.Background(), &out, []string{"me/app:1"}, SaveOptions{}); err == nil {
			t.Errorf("%s: saved", name)
		}
		if _, err := newStore(t).Load(context.Background(), &out, LoadOptions{}); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

// TestSavePlatforms: an image for several platforms keeps them, or the one that
// is asked for.
func TestSavePlatforms(t *testing.T) {
	ctx := context.Background()
	l := &ociTar{t: t}
	mine := l.image(runtime.GOARCH, string(tree(t, "mine")), ocispec.MediaTypeImageLayer, nil)
	other := l.image("s390x", string(tree(t, "other")), ocispec.MediaTypeImageLayer, nil)
	index := l.json(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []any{other, mine}})
	index["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/library/many:1"}
	s := newStore(t)
	if _, err := s.Load(ctx, bytes.NewReader(l.tar(index)), LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	for plat, want := range map[string][]string{"": {runtime.GOARCH, "s390x"}, "linux/s390x": {"s390x"}, "linux/" + runtime.GOARCH: {runtime.GOARCH}} {
		b := saved(t, s, SaveOptions{Platform: plat}, "many:1")
		into := newStore(t)
		got, err := into.Load(ctx, bytes.NewReader(b), LoadOptions{})
		if err != nil || len(got) != 1 || !slices.Equal(got[0].Refs, []string{"many:1"}) {
			t.Fatalf("%q: %+v, %v", plat, got, err)
		}
		for _, arch := range []string{runtime.GOARCH, "s390x"} {
			if _, err := into.Get(ctx, "many:1", "linux/"+arch); (err == nil) != slices.Contains(want, arch) {
				t.Errorf("%q: %s: %v", plat, arch, err)
			}
		}
		fsck(t, into.dir)
	}
	if err := s.Save(ctx, &bytes.Buffer{}, []string{"many:1"}, SaveOptions{Platform: "linux/riscv64"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a platform that there is not: %v", err)
	}
	// On the way in, too.
	b := saved(t, s, SaveOptions{}, "many:1")
	into := newStore(t)
	if _, err := into.Load(ctx, bytes.NewReader(b), LoadOptions{Platform: "linux/s390x"}); err != nil {
		t.Fatal(err)
	}
	if img, err := into.Get(ctx, "many:1", ""); err != nil || img.Platform.Architecture != "s390x" {
		t.Errorf("%+v, %v", img, err)
	}
	if _, err := newStore(t).Load(ctx, bytes.NewReader(b), LoadOptions{Platform: "linux/riscv64"}); err == nil || !strings.Contains(err.Error(), "only for") {
		t.Errorf("a platform that there is not: %v", err)
	}
}

// TestSaveRemoved: an image that is removed while it is written is written whole.
func TestSaveRemoved(t *testing.T) {
	ctx := context.Background()
	s, one, two := twoTags(t)
	w := &removing{do: func() {
		for _, id := range []string{two, one} {
			if _, err := s.Remove(ctx, id, RemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}
	}}
	if err := s.Save(ctx, w, []string{"me/app:1", two}, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := newStore(t).Load(ctx, &w.Buffer, LoadOptions{}); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if n := fsck(t, s.dir); n != 0 {
		t.Errorf("%d images", n)
	}
	clean(t, s)
}

type removing struct {
	bytes.Buffer
	do func()
}

func (r *removing) Write(p []byte) (int, error) {
	if r.do != nil {
		r.do()
		r.do = nil
	}
	return r.Buffer.Write(p)
}

// TestDirectory: a layout goes out to a directory and comes in from one.
func TestDirectory(t *testing.T) {
	ctx := context.Background()
	s, one, _ := twoTags(t)
	dir := filepath.Join(t.TempDir(), "new", "layout")
	if err := s.Save(ctx, nil, []string{"me/app"}, SaveOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "blobs", "sha256", "link"))
	into := newStore(t)
	got, err := into.Load(ctx, nil, LoadOptions{Dir: dir})
	if err != nil || len(got) != 1 || got[0].ID != one || len(got[0].Refs) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	fsck(t, into.dir)
	// A store is a layout, too.
	if got, err := newStore(t).Load(ctx, nil, LoadOptions{Dir: s.dir}); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := newStore(t).Load(ctx, nil, LoadOptions{Dir: t.TempDir()}); err == nil {
		t.Error("an empty directory was loaded")
	}
}

// TestSaveRead has others read what we write.
func TestSaveRead(t *testing.T) {
	need(t, "skopeo", "umoci")
	s, one, _ := twoTags(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(file, saved(t, s, SaveOptions{}, "me/app", "localhost:5000/other"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"docker-archive:" + file + ":me/app:2", "docker-archive:" + file + ":localhost:5000/other:latest", "oci-archive:" + file + ":2"} {
		to := filepath.Join(dir, "out")
		run(t, "skopeo", "--insecure-policy", "copy", "-q", from, "dir:"+to)
		os.RemoveAll(to)
	}
	raw := run(t, "skopeo", "inspect", "--config", "--raw", "docker-archive:"+file+":me/app:1")
	if "sha256:"+sum(raw) != one {
		t.Errorf("skopeo reads the config %s", raw)
	}
	layout := filepath.Join(dir, "layout")
	if err := s.Save(context.Background(), nil, []string{"me/app:1"}, SaveOptions{Dir: layout}); err != nil {
		t.Fatal(err)
	}
	run(t, "umoci", "unpack", "--rootless", "--image", layout+":1", filepath.Join(dir, "bundle"))
	if _, err := os.Stat(filepath.Join(dir, "bundle/rootfs/bin/x")); err != nil {
		t.Error(err)
	}
}

// dockerLoads has Docker load what we save, and what is in the format before 1.10,
// which it gives the ID that we give.
func dockerLoads(t *testing.T, docker func(...string) string) {
	s, one, two := twoTags(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(file, saved(t, s, SaveOptions{}, "me/app", two), 0o600); err != nil {
		t.Fatal(err)
	}
	docker("load", "-i", file)
	if out := docker("image", "inspect", "-f", "{{.Id}} {{.RepoTags}}", "me/app:2", two); out != one+" [me/app:1 me/app:2]\n"+two+" []" {
		t.Errorf("docker has %s", out)
	}
	old := filepath.Join(dir, "old.tar")
	if err := os.WriteFile(old, legacy(t), 0o600); err != nil {
		t.Fatal(err)
	}
	docker("load", "-i", old)
	l := loadFile(t, s, old)
	if len(l) != 1 || !slices.Equal(l[0].Refs, []string{"old/thing:1", "old/thing:2"}) {
		t.Fatalf("%+v", l)
	}
	if out := docker("image", "inspect", "-f", "{{.Id}} {{.RepoTags}}", "old/thing:1"); out != l[0].ID+" [old/thing:1 old/thing:2]" {
		t.Errorf("docker has %s, we %s", out, l[0].ID)
	}
	docker("rmi", "-f", one, two, l[0].ID)
}

// legacy is an archive of Docker before 1.10: two layers, two tags.
func legacy(t *testing.T, change ...func(files map[string]string)) []byte {
	base, top := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	files := map[string]string{
		base + "/VERSION": "1.0", base + "/layer.tar": string(tree(t, "old base")),
		base + "/json":   `{"id":"` + base + `","created":"2015-06-01T10:00:00.5Z","author":"A <a@b>","docker_version":"1.9.1","architecture":"amd64","os":"linux","container_config":{"Cmd":["/bin/sh","-c","#(nop) ADD file:x in /"]}}`,
		top + "/VERSION": "1.0", top + "/layer.tar": string(tree(t, "old top")),
		top + "/json":  `{"id":"` + top + `","parent":"` + base + `","created":"2015-06-02T10:00:00Z","comment":"a <c>","docker_version":"1.9.1","architecture":"amd64","os":"linux","config":{"Cmd":["/bin/x"],"Env":["A=b & c"]},"container_config":{"Cmd":["/bin/sh","-c","#(nop) CMD [\"/bin/x\"]"]},"Size":5}`,
		"repositories": `{"old/thing":{"1":"` + top + `","2":"` + top + `"}}`,
	}
	for _, f := range change {
		f(files)
	}
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	var entries []entry
	for _, n := range names {
		entries = append(entries, entry{name: n, body: files[n]})
	}
	return tarOf(t, entries...)
}

func TestLegacy(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	l, err := s.Load(ctx, bytes.NewReader(legacy(t)), LoadOptions{})
	if err != nil || len(l) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	img, err := s.Get(ctx, "old/thing:2", "")
	if err != nil || len(img.Layers) != 2 || img.Config.History[0].Author != "A <a@b>" || img.Config.Config.Cmd[0] != "/bin/x" {
		t.Errorf("%+v, %v", img, err)
	}
	fsck(t, s.dir)
	base, top := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for name, change := range map[string]func(map[string]string){
		"circle":        func(f map[string]string) { f[base+"/json"] = `{"parent":"` + top + `"}` },
		"parent":        func(f map[string]string) { delete(f, base+"/json") },
		"layer":         func(f map[string]string) { delete(f, top+"/layer.tar") },
		"id":            func(f map[string]string) { f["repositories"] = `{"a":{"b":"../../etc"}}` },
		"name":          func(f map[string]string) { f["repositories"] = `{"A B":{"b":"` + top + `"}}` },
		"json":          func(f map[string]string) { f[top+"/json"] = `[]` },
		"repositories":  func(f map[string]string) { f["repositories"] = `null` },
		"operating":     func(f map[string]string) { f[top+"/json"] = `{"os":"windows"}` },
		"damaged layer": func(f map[string]string) { f[top+"/layer.tar"] = "\x1f\x8b\x08" },
	} {
		if _, err := newStore(t).Load(ctx, bytes.NewReader(legacy(t, change)), LoadOptions{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var v any
	if err := json.Unmarshal([]byte(asJSON(t, img.Config)), &v); err != nil {
		t.Error(err)
	}
}
