package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"testing"

	"coracle/image/platform"
)

func pack(files ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Size: int64(len(files[i+1]))})
		w.Write([]byte(files[i+1]))
	}
	w.Close()
	return b.Bytes()
}

func hexOf(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// FuzzManifest puts strange manifests beside a good config and a good layer.
func FuzzManifest(f *testing.F) {
	layer := string(pack("x", "y"))
	config := `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:` + hexOf(layer) + `"]}}`
	c, l := "blobs/sha256/"+hexOf(config), "blobs/sha256/"+hexOf(layer)
	f.Add("manifest.json", `[{"Config":"`+c+`","RepoTags":["a:1"],"Layers":["`+l+`"]}]`, "")
	m := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%d}]}`, hexOf(config), len(config), hexOf(layer), len(layer))
	f.Add("index.json", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d}]}`, hexOf(m), len(m)), m)
	f.Add("index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:"}]}`, `{"manifests":null}`)
	f.Add("index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:`+hexOf(`{"manifests":[{}]}`)+`","size":18}]}`, `{"manifests":[{}]}`)
	f.Add("repositories", `{"a":{"b":"c"}}`, "")
	// An index of a build and of what is none.
	one := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d,"platform":{"os":"%%s","architecture":"amd64"}}`, hexOf(m), len(m))
	index := `{"schemaVersion":2,"manifests":[` + fmt.Sprintf(one, "linux") + "," + fmt.Sprintf(one, "unknown") + `]}`
	f.Add("index", "", index)
	f.Fuzz(func(t *testing.T, name, body, manifest string) {
		dir, err := os.MkdirTemp("", "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if name == "index" { // one that leads to manifest, whatever became of that
			name = "index.json"
			body = fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:%s","size":%d}]}`, hexOf(manifest), len(manifest))
		}
		in := pack(c, config, l, layer, "blobs/sha256/"+hexOf(m), m, "blobs/sha256/"+hexOf(manifest), manifest, name, body)
		a, err := Read(context.Background(), bytes.NewReader(in), dir, 1<<20)
		if err != nil {
			return
		}
		images, err := a.Images(context.Background(), platform.Machine(), nil)
		if err != nil {
			return
		}
		for _, i := range images {
			if i.Config.Digest != "sha256:"+hexOf(config) && i.Config.Digest != "sha256:"+hexOf(manifest) && i.Config.Digest != "sha256:"+hexOf(body) {
				t.Errorf("config %s", i.Config.Digest)
			}
			if x := i.Index; x != nil && (x.File.Digest != "sha256:"+hexOf(manifest) && x.File.Digest != "sha256:"+hexOf(body) || slices.Contains(x.Besides, nil)) {
				t.Errorf("index %+v", x)
			}
			for _, l := range i.Layers {
				if l.DiffID != l.File.Digest {
					t.Errorf("layer %+v", l)
				}
			}
		}
	})
}

// FuzzRead reads any bytes as an archive.
func FuzzRead(f *testing.F) {
	f.Add(pack("manifest.json", "[]"))
	f.Add(pack("a", "b", "./a", "c"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		dir, err := os.MkdirTemp("", "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		a, err := Read(context.Background(), bytes.NewReader(in), dir, 1<<20)
		if err == nil {
			a.Images(context.Background(), platform.Machine(), nil)
		}
	})
}
