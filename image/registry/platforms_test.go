package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"coracle/image"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout writes what an index of the server leads to as an image layout.
func (s *server) layout(dir, repo string, top ocispec.Descriptor) {
	s.t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		s.t.Fatal(err)
	}
	var take func(d ocispec.Descriptor)
	take = func(d ocispec.Descriptor) {
		kind := "blobs"
		if strings.Contains(d.MediaType, "manifest") || strings.Contains(d.MediaType, "index") {
			kind = "manifests"
		}
		res, err := http.Get(s.URL + "/v2/" + repo + "/" + kind + "/" + string(d.Digest))
		if err != nil {
			s.t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || sum(b) != d.Digest {
			s.t.Fatalf("%s: %s, %v", d.Digest, res.Status, err)
		}
		if err := os.WriteFile(filepath.Join(blobs, d.Digest.Encoded()), b, 0o644); err != nil {
			s.t.Fatal(err)
		}
		if kind == "blobs" {
			return
		}
		var m struct {
			Manifests, Layers []ocispec.Descriptor
			Config            *ocispec.Descriptor
		}
		if err := json.Unmarshal(b, &m); err != nil {
			s.t.Fatal(err)
		}
		for _, sub := range append(m.Manifests, m.Layers...) {
			take(sub)
		}
		if m.Config != nil {
			take(*m.Config)
		}
	}
	take(top)
	for name, v := range map[string]any{"oci-layout": ocispec.ImageLayout{Version: "1.0.0"}, "index.json": map[string]any{"schemaVersion": 2, "manifests": []any{top}}} {
		if err := os.WriteFile(filepath.Join(dir, name), raw(s.t, v), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestPushPlatforms: an image for several platforms is pushed as it came, with what else
// its index holds; or the one build that is asked for; or, where some are not here, ours.
func TestPushPlatforms(t *testing.T) {
	ctx := context.Background()
	s := newServer(t)
	machine, other := "amd64", "s390x"
	var builds []ocispec.Descriptor
	for _, arch := range []string{machine, other} {
		builds = append(builds, s.image("src", arch, recipe{arch: arch, layers: [][]byte{layerTar(t, arch, 2000)}}))
	}
	proof := s.blob("src", []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`))
	proof.MediaType = "application/vnd.in-toto+json"
	config := s.blob("src", []byte(`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`))
	config.MediaType = ocispec.MediaTypeImageConfig
	attest := s.document("src", "attest", ocispec.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config, "layers": []any{proof},
	})
	attest.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	top := s.document("src", "all", ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Annotations: map[string]string{"made": "elsewhere"}, Manifests: append(slices.Clone(builds), attest),
	})
	dir := t.TempDir()
	s.layout(dir, "src", top)

	p := newPlace(t, "")
	c := client(t, "{}")
	load := func(ref string) {
		t.Helper()
		got, err := p.store.Load(ctx, nil, image.LoadOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.store.Tag(ctx, got[0].ID, ref); err != nil {
			t.Fatal(err)
		}
	}
	// To a server that has nothing of it.
	to := newServer(t)
	load(to.host() + "/dst:all")
	d, err := c.Push(ctx, p.store, to.ref("dst:all"), "", nil)
	if err != nil || d.Digest != top.Digest {
		t.Fatalf("%+v, %v", d, err)
	}
	to.layout(t.TempDir(), "dst", top) // all of it is there
	for _, arch := range []string{machine, other} {
		back := newPlace(t, "")
		out, err := back.pull(c, to.ref("dst:all"), func(o *PullOptions) { o.Platform = "linux/" + arch })
		if img := back.whole(out, err); img.Platform.Architecture != arch {
			t.Errorf("%s: %+v", arch, img.Platform)
		}
	}
	if img, err := p.store.Get(ctx, to.host()+"/dst@"+string(d.Digest), ""); err != nil || len(img.RepoDigests) != 1 {
		t.Errorf("by its digest: %+v, %v", img, err)
	}
	// One of them.
	one := newServer(t)
	load(one.host() + "/dst:one")
	if d, err := c.Push(ctx, p.store, one.ref("dst:one"), "linux/"+other, nil); err != nil || d.Digest != builds[1].Digest {
		t.Errorf("%+v, %v", d, err)
	}
	one.layout(t.TempDir(), "dst", builds[1])
	var platform *image.PlatformError
	if _, err := c.Push(ctx, p.store, one.ref("dst:one"), "linux/riscv64", nil); !errors.As(err, &platform) {
		t.Errorf("none of them: %v", err)
	}
	// Not all are here.
	if err := os.Remove(filepath.Join(p.dir, "images", "blobs", "sha256", builds[1].Digest.Encoded())); err != nil {
		t.Fatal(err)
	}
	var said []string
	d, err = c.Push(ctx, p.store, one.ref("dst:one"), "linux/"+machine, nil)
	if err != nil || d.Digest != builds[0].Digest {
		t.Errorf("%+v, %v", d, err)
	}
	if ours := machineArch(t, p, one.host()+"/dst:one"); ours == machine {
		d, err = c.Push(ctx, p.store, one.ref("dst:one"), "", func(e Event) { said = append(said, e.Line) })
		if err != nil || d.Digest != builds[0].Digest || !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "Not all multiplatform-content") }) {
			t.Errorf("%+v, %q, %v", d, said, err)
		}
	}
}

// machineArch is for which architecture an image is that is taken without being told.
func machineArch(t *testing.T, p *place, ref string) string {
	t.Helper()
	img, err := p.store.Get(context.Background(), ref, "")
	if err != nil {
		return ""
	}
	return img.Platform.Architecture
}
