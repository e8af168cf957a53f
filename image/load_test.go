package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ociTar makes OCI archives, good and bad.
type ociTar struct {
	t       testing.TB
	entries []entry
}

func (l *ociTar) blob(mediaType, body string) map[string]any {
	l.entries = append(l.entries, entry{name: "blobs/sha256/" + sum(body), body: body})
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum(body), "size": len(body)}
}

func (l *ociTar) json(mediaType string, v any) map[string]any {
	b, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(mediaType, string(b))
}

// image adds one image's blobs; change may spoil its manifest.
func (l *ociTar) image(arch, body, layerType string, change func(m map[string]any)) map[string]any {
	config := l.json(ocispec.MediaTypeImageConfig, map[string]any{"architecture": arch, "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(body)}}})
	m := map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config,
		"layers": []any{l.blob(layerType, body)}}
	if change != nil {
		change(m)
	}
	d := l.json(ocispec.MediaTypeImageManifest, m)
	d["platform"] = map[string]any{"os": "linux", "architecture": arch}
	return d
}

func (l *ociTar) tar(manifests ...map[string]any) []byte {
	b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": manifests})
	return tarOf(l.t, append(l.entries, entry{name: "oci-layout", body: `{"imageLayoutVersion":"1.0.0"}`}, entry{name: "index.json", body: string(b)})...)
}

// TestLoadIndex: an index whose builds and attestations are all in the archive stays as
// it is. One that lies about a platform, or lacks something, gives way to ours.
func TestLoadIndex(t *testing.T) {
	ctx := context.Background()
	l := &ociTar{t: t}
	mine := l.image(runtime.GOARCH, string(tree(t, "mine")), ocispec.MediaTypeImageLayer, nil)
	other := l.image("s390x", string(tree(t, "other")), ocispec.MediaTypeImageLayer, nil)
	proof := l.json(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": l.json(ocispec.MediaTypeImageConfig, map[string]any{"os": "unknown", "rootfs": map[string]any{}}),
		"layers": []any{l.blob("application/vnd.in-toto+json", "{}")}})
	proof["platform"] = map[string]any{"os": "unknown", "architecture": "unknown"}
	with := func(d map[string]any, key string, value any) map[string]any {
		d = maps.Clone(d)
		d[key] = value
		return d
	}
	for name, c := range map[string]struct {
		manifests []any
		kept      bool
	}{
		"whole":       {[]any{mine, other, proof}, true},
		"lie":         {[]any{mine, with(other, "platform", map[string]any{"os": "linux", "architecture": "riscv64"})}, false},
		"no platform": {[]any{mine, with(other, "platform", nil)}, false},
		"partial":     {[]any{mine, other, with(proof, "digest", "sha256:"+sum("nowhere"))}, false},
	} {
		own := &ociTar{t: t, entries: slices.Clone(l.entries)}
		index := own.json(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": c.manifests, "annotations": map[string]string{"case": name}})
		archive := own.tar(with(index, "annotations", map[string]string{"io.containerd.image.name": "docker.io/me/multi:1"}))
		s := newStore(t)
		if _, err := s.Load(ctx, bytes.NewReader(archive), LoadOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		idx, err := s.readIndex()
		if err != nil || len(idx.Manifests) != 1 || (string(idx.Manifests[0].Digest) == index["digest"]) != c.kept {
			t.Errorf("%s: %+v, %v", name, idx.Manifests, err)
		}
		if img, err := s.Get(ctx, "me/multi:1", "linux/s390x"); err != nil || img.Platform.Architecture != "s390x" {
			t.Errorf("%s: %+v, %v", name, img, err)
		}
		clean(t, s) // what it needs is not taken for litter
		what, err := s.Sending(ctx, "me/multi:1", "")
		if err != nil || len(what.Pieces) != map[bool]int{true: 4, false: 3}[c.kept] || what.Partial {
			t.Errorf("%s: %+v, %v", name, what, err)
		}
		if out := saved(t, s, SaveOptions{}, "me/multi:1"); c.kept {
			again := newStore(t)
			if _, err := again.Load(ctx, bytes.NewReader(out), LoadOptions{}); err != nil {
				t.Error(err)
			} else if idx, err := again.readIndex(); err != nil || string(idx.Manifests[0].Digest) != index["digest"] {
				t.Errorf("saved and loaded: %+v, %v", idx, err)
			}
		}
		if lines, err := s.Remove(ctx, "me/multi:1", RemoveOptions{}); err != nil || len(lines) < 2 {
			t.Errorf("%s: %q, %v", name, lines, err)
		}
		if b, _ := os.ReadDir(s.path(blobDir)); len(b) != 0 {
			t.Errorf("%s: %d blobs left", name, len(b))
		}
	}
}

func TestLoadPlatforms(t *testing.T) {
	ctx := context.Background()
	l := &ociTar{t: t}
	mine := l.image(runtime.GOARCH, string(tree(t, "mine")), ocispec.MediaTypeImageLayer, nil)
	other := l.image("s390x", string(tree(t, "other")), ocispec.MediaTypeImageLayer, nil)
	third := l.image("riscv64", string(tree(t, "third")), ocispec.MediaTypeImageLayer, nil)
	att := l.json(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2})
	att["platform"] = map[string]any{"os": "unknown", "architecture": "unknown"}
	index := l.json(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []any{other, mine, att}})
	index["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/me/multi:1", "org.opencontainers.image.ref.name": "1"}
	s := newStore(t)
	got, err := s.Load(ctx, bytes.NewReader(l.tar(index)), LoadOptions{})
	if err != nil || len(got) != 1 || len(got[0].Refs) != 1 || got[0].Refs[0] != "me/multi:1" {
		t.Fatalf("%+v, %v", got, err)
	}
	if img, err := s.Get(ctx, "me/multi:1", ""); err != nil || img.Platform.Architecture != runtime.GOARCH {
		t.Errorf("%+v, %v", img, err)
	}
	img, err := s.Get(ctx, "me/multi:1", "linux/s390x")
	if err != nil || img.Platform.Architecture != "s390x" || len(img.Layers) != 1 {
		t.Fatalf("%+v, %v", img, err)
	}
	// A container remembers its image by the ID of the build.
	for _, id := range []string{img.ID, img.ID[len("sha256:"):][:12]} {
		if same, err := s.Get(ctx, id, ""); err != nil || same.ID != img.ID || same.Platform.Architecture != "s390x" {
			t.Errorf("%s: %+v, %v", id, same, err)
		}
	}
	if _, err := s.Get(ctx, "me/multi:1", "linux/arm/v5"); err == nil || !strings.Contains(err.Error(), "linux/s390x") || !strings.Contains(err.Error(), "linux/"+runtime.GOARCH) {
		t.Errorf("%v", err)
	}
	if err := s.Tag(ctx, got[0].ID, "again:2"); err != nil {
		t.Error(err)
	}
	if img, err := s.Get(ctx, "again:2", "linux/s390x"); err != nil || img.Platform.Architecture != "s390x" {
		t.Errorf("%+v, %v", img, err)
	}
	// The same once more, and one of them alone under a name of its own.
	alone := map[string]any{}
	for k, v := range mine {
		alone[k] = v
	}
	alone["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/me/alone:1"}
	for _, again := range [][]byte{l.tar(index), l.tar(alone)} {
		if _, err := s.Load(ctx, bytes.NewReader(again), LoadOptions{}); err != nil {
			t.Error(err)
		}
	}
	for _, ref := range []string{"me/multi:1", "again:2"} {
		if img, err := s.Get(ctx, ref, "linux/s390x"); err != nil || img.Platform.Architecture != "s390x" {
			t.Errorf("%s: %+v, %v", ref, img, err)
		}
	}
	fsck(t, s.dir)
	clean(t, s)
	// One manifest for another machine may be for an emulator.
	if got, err := s.Load(ctx, bytes.NewReader(l.tar(other)), LoadOptions{}); err != nil || len(got) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	foreign := l.json(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []any{other, third}})
	s = newStore(t)
	if got, err = s.Load(ctx, bytes.NewReader(l.tar(foreign)), LoadOptions{}); err != nil || len(got) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err = s.Get(ctx, got[0].ID, ""); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "linux/s390x, linux/riscv64") {
		t.Errorf("%v", err)
	}
}

func TestLoadRefusesOCI(t *testing.T) {
	body := string(tree(t, "bad"))
	layer := func(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }
	for what, change := range map[string]func(m map[string]any){
		"size lies":      func(m map[string]any) { layer(m)["size"] = 7 },
		"digest missing": func(m map[string]any) { layer(m)["digest"] = "sha256:" + sum("other") },
		"digest dotted":  func(m map[string]any) { layer(m)["digest"] = "sha256:../../../etc/passwd" },
		"digest empty":   func(m map[string]any) { layer(m)["digest"] = "" },
		"says gzip":      func(m map[string]any) { layer(m)["mediaType"] = ocispec.MediaTypeImageLayerGzip },
		"foreign": func(m map[string]any) {
			layer(m)["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		},
		"artifact":         func(m map[string]any) { m["config"].(map[string]any)["mediaType"] = "application/vnd.helm.config" },
		"schema 1":         func(m map[string]any) { m["schemaVersion"] = 1 },
		"manifest type":    func(m map[string]any) { m["mediaType"] = ocispec.MediaTypeImageIndex },
		"no layers":        func(m map[string]any) { m["layers"] = []any{} },
		"twice the layer":  func(m map[string]any) { m["layers"] = []any{layer(m), layer(m)} },
		"too many layers":  func(m map[string]any) { m["layers"] = slicesOf(layer(m), 5000) },
		"layer as config":  func(m map[string]any) { m["config"].(map[string]any)["digest"] = layer(m)["digest"] },
		"config size lies": func(m map[string]any) { m["config"].(map[string]any)["size"] = int64(1 << 40) },
	} {
		l := &ociTar{t: t}
		d := l.image("amd64", body, ocispec.MediaTypeImageLayer, change)
		refuse(t, what, l.tar(d))
	}
	l := &ociTar{t: t}
	d := l.image("amd64", body, ocispec.MediaTypeImageLayer, nil)
	d["size"] = 3
	refuse(t, "manifest size lies", l.tar(d))
	d = map[string]any{"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws", "digest": d["digest"], "size": d["size"]}
	refuse(t, "schema 1 type", l.tar(d))
	l.entries[1].name = "blobs/sha256/" + sum("wrong")
	refuse(t, "blob is not what it is called", l.tar())
}

func slicesOf(v any, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// refuse loads what must be refused and must leave nothing.
func refuse(t *testing.T, what string, in []byte) {
	t.Helper()
	s := newStore(t)
	_, err := s.Load(context.Background(), bytes.NewReader(in), LoadOptions{})
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%s: %v", what, err)
	} else {
		t.Logf("%s: %v", what, err)
	}
	if fsck(t, s.dir) != 0 {
		t.Errorf("%s left an image", what)
	}
	clean(t, s)
}

func TestLoadRefusesDocker(t *testing.T) {
	whole := dockerArchive(t, []string{"a:1"}, tree(t, "a"))
	gz := pack(t, "gzip", whole)
	l := string(tree(t, "a"))
	config := func(diff string) string {
		return `{"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:` + diff + `"]}}`
	}
	good := config(sum(l))
	manifest := func(c, l string) entry {
		return entry{name: "manifest.json", body: `[{"Config":"` + c + `","RepoTags":["a:1"],"Layers":["` + l + `"]}]`}
	}
	for what, in := range map[string][]byte{
		"empty":          nil,
		"text":           []byte("hello"),
		"cut":            whole[:len(whole)/2],
		"cut gzip":       gz[:len(gz)/2],
		"gzip tail":      gz[:len(gz)-4],
		"other tar":      tree(t, "x"),
		"diff ID":        tarOf(t, entry{name: "c", body: config(sum("no"))}, entry{name: "l", body: l}, manifest("c", "l")),
		"config name":    tarOf(t, entry{name: sum("no") + ".json", body: good}, entry{name: "l", body: l}, manifest(sum("no")+".json", "l")),
		"missing layer":  tarOf(t, entry{name: "c", body: good}, manifest("c", "l")),
		"layer outside":  tarOf(t, entry{name: "c", body: good}, manifest("c", "../../etc/passwd")),
		"layer absolute": tarOf(t, entry{name: "c", body: good}, manifest("c", "/etc/passwd")),
		"link outside":   tarOf(t, entry{name: "c", body: good}, entry{name: "l", kind: tar.TypeSymlink, link: "../../etc/passwd"}, manifest("c", "l")),
		"link absolute":  tarOf(t, entry{name: "c", body: good}, entry{name: "l", kind: tar.TypeSymlink, link: "/etc/passwd"}, manifest("c", "l")),
		"link to itself": tarOf(t, entry{name: "c", body: good}, entry{name: "l", kind: tar.TypeSymlink, link: "l"}, manifest("c", "l")),
		"dotted":         tarOf(t, entry{name: "../c", body: good}),
		"absolute":       tarOf(t, entry{name: "/c", body: good}),
		"fifo":           tarOf(t, entry{name: "c", kind: tar.TypeFifo}),
		"twice":          tarOf(t, entry{name: "c", body: good}, entry{name: "./c", body: "{}"}, entry{name: "l", body: l}, manifest("c", "l")),
		"bad name":       dockerArchive(t, []string{"BAD NAME"}, tree(t, "a")),
		"windows":        tarOf(t, entry{name: "c", body: strings.Replace(good, "linux", "windows", 1)}, entry{name: "l", body: l}, manifest("c", "l")),
		"xz layer":       tarOf(t, entry{name: "c", body: good}, entry{name: "l", body: "\xfd7zXZ\x00" + l}, manifest("c", "l")),
		"big manifest":   tarOf(t, entry{name: "manifest.json", body: "[" + strings.Repeat(" ", 5<<20) + "]"}),
		"no images":      tarOf(t, entry{name: "manifest.json", body: "[]"}),
		"deep JSON":      tarOf(t, entry{name: "manifest.json", body: strings.Repeat("[", 1<<20)}),
		"v1":             tarOf(t, entry{name: "repositories", body: "{}"}),
	} {
		refuse(t, what, in)
	}
}

// TestLoadLinks: docker save up to 24 links a layer that it has written.
func TestLoadLinks(t *testing.T) {
	l := string(tree(t, "l"))
	c := `{"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:` + sum(l) + `","sha256:` + sum(l) + `"]}}`
	in := tarOf(t, entry{name: "c", body: c}, entry{name: "a/", kind: tar.TypeDir}, entry{name: "b/layer.tar", kind: tar.TypeSymlink, link: "../a/layer.tar"},
		entry{name: "a/layer.tar", body: l}, entry{name: "manifest.json", body: `[{"Config":"c","RepoTags":null,"Layers":["a/layer.tar","b/layer.tar"]}]`})
	s := newStore(t)
	got, err := s.Load(context.Background(), bytes.NewReader(in), LoadOptions{})
	if err != nil || got[0].ID != "sha256:"+sum(c) || len(got[0].Refs) != 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	fsck(t, s.dir)
	clean(t, s)
}

// FuzzLoad: whatever comes in, the store is consistent afterwards.
func FuzzLoad(f *testing.F) {
	l := &ociTar{t: f}
	d := l.image("amd64", string(tree(f, "f")), ocispec.MediaTypeImageLayer, nil)
	f.Add(l.tar(d))
	other := l.image("s390x", string(tree(f, "o")), ocispec.MediaTypeImageLayer, nil)
	f.Add(l.tar(l.json(ocispec.MediaTypeImageIndex, map[string]any{"schemaVersion": 2, "manifests": []any{d, other}})))
	f.Add(dockerArchive(f, []string{"a:1"}, tree(f, "f")))
	f.Add(tree(f, "no"))
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Open(fmt.Sprintf("%s/%d", dir, len(in)%7))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(context.Background(), bytes.NewReader(in), LoadOptions{}); err == nil {
			for _, g := range got {
				if _, err := s.Get(context.Background(), g.ID, ""); err != nil {
					t.Fatalf("%+v: %v", g, err)
				}
			}
		}
		fsck(t, s.dir)
	})
}

// TestBombs: a few bytes that unpack to many are refused at a limit, wherever they
// unpack, and nothing of them stays.
func TestBombs(t *testing.T) {
	ctx := context.Background()
	const limit = 1 << 20
	s := newStore(t)
	s.Limit = func() int64 { return limit }
	big := tarOf(t, entry{name: "zeros", body: strings.Repeat("\x00", 2*limit)})
	fits := tarOf(t, entry{name: "zeros", body: strings.Repeat("\x00", limit/2)})
	for name, in := range map[string][]byte{
		"layer":            dockerArchive(t, []string{"x"}, big),
		"packed layer":     dockerArchive(t, []string{"x"}, pack(t, "gzip", big)),
		"zstd layer":       dockerArchive(t, []string{"x"}, pack(t, "zstd", big)),
		"packed archive":   pack(t, "gzip", dockerArchive(t, []string{"x"}, big)),
		"packed both ways": pack(t, "zstd", dockerArchive(t, []string{"x"}, pack(t, "gzip", big))),
	} {
		if _, err := s.Load(ctx, bytes.NewReader(in), LoadOptions{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "limit") {
			t.Errorf("load %s: %v", name, err)
		}
	}
	for _, program := range []string{"cat", "gzip", "zstd", "bzip2"} {
		in := big
		if program != "cat" {
			in = pack(t, program, big)
		}
		if _, err := s.Import(ctx, bytes.NewReader(in), ImportOptions{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "limit") {
			t.Errorf("import %s: %v", program, err)
		}
	}
	if n := fsck(t, s.dir); n != 0 {
		t.Errorf("%d images", n)
	}
	clean(t, s)
	if _, err := s.Import(ctx, bytes.NewReader(pack(t, "gzip", fits)), ImportOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Load(ctx, bytes.NewReader(dockerArchive(t, []string{"x"}, fits)), LoadOptions{}); err != nil {
		t.Error(err)
	}
}
