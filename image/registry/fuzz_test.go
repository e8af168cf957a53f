package registry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"coracle/image"
	"coracle/image/platform"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// FuzzManifest reads what a stranger may send as an index, a manifest and a
// config: it is refused as invalid, or everything in it was checked.
func FuzzManifest(f *testing.F) {
	digest := string(sum([]byte("x")))
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"`+dockerManifest+`","config":{"mediaType":"`+dockerConfig1+`","digest":"`+digest+`","size":3},"layers":[{"mediaType":"`+dockerLayer+`.gzip","digest":"`+digest+`","size":5}]}`),
		dockerManifest, []byte(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["`+digest+`"]}}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest+`","digest":"`+digest+`","size":3,"platform":{"os":"linux","architecture":"arm","variant":"v6"}}]}`),
		ocispec.MediaTypeImageIndex, []byte(`{}`))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), schema1Signed, []byte(`null`))
	f.Add([]byte(`{"schemaVersion":2,"layers":null,"config":null}`), "text/html; charset=\x00", []byte(`[]`))
	f.Fuzz(func(t *testing.T, manifest []byte, contentType string, config []byte) {
		d, err := readDocument(manifest, contentType, "", "latest")
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if kindOf(d.MediaType) == index {
			var idx ocispec.Index
			if json.Unmarshal(d.raw, &idx) != nil {
				return
			}
			next, err := pick(idx.Manifests, platform.Machine())
			var none *NoPlatformError
			switch {
			case err == nil && len(next.Digest) != len(digest):
				t.Errorf("chose %q", next.Digest)
			case err != nil && !errors.As(err, &none):
				checkRefusal(t, err)
			}
			return
		}
		desc, layers, err := readManifest(d)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		// What the config is said to be is made true, to get further.
		desc.Digest, desc.Size = sum(config), int64(len(config))
		if _, err := readConfig(config, desc, layers, nil); err != nil {
			checkRefusal(t, err)
			return
		}
		if len(layers) > maxLayers {
			t.Errorf("%d layers", len(layers))
		}
		for _, l := range layers {
			if len(l.Digest) != len(digest) || len(l.DiffID) != len(digest) || l.Size < 0 || strings.ContainsAny(l.Digest+l.DiffID, "/.") {
				t.Errorf("layer %+v", l)
			}
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, image.ErrInvalid) || strings.ContainsAny(err.Error(), "\n\r\x1b") {
		t.Errorf("refused with %q", err)
	}
}
