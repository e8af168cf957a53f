package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fsck fails unless all that a store's index leads to is there and right, and
// tells how many images there are.
func fsck(t *testing.T, dir string) int {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range idx.Manifests {
		if len(idx.Manifests) > 0 && d.Annotations[configAnnotation] == "" && d.MediaType == ocispec.MediaTypeImageManifest {
			t.Logf("entry %s is another tool's", d.Digest)
		}
		if isIndexType(d.MediaType) {
			continue
		}
		img, err := s.read(d)
		if err != nil {
			t.Fatalf("entry %s %v: %v", d.Digest, d.Annotations, err)
		}
		for _, l := range s.SnapshotLayers(img) {
			r, err := l.Open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// clean fails when a store keeps blobs that nothing leads to, or remains.
func clean(t *testing.T, s *Store) {
	t.Helper()
	entries, err := os.ReadDir(s.path(tmpDir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left in tmp: %s", e.Name())
	}
	idx, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	live := map[string]bool{}
	for _, d := range idx.Manifests {
		if err := mark(&s.layout, d, live, 0); err != nil {
			t.Fatal(err)
		}
	}
	blobs, err := os.ReadDir(s.path(blobDir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if !live["sha256:"+b.Name()] {
			t.Errorf("unreferenced blob %s", b.Name())
		}
	}
}

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// entry is one file of a tar.
type entry struct {
	name, body, link string
	kind             byte
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o755}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.kind == tar.TypeReg {
			io.WriteString(w, e.body)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree is a small root filesystem's tar that differs by seed.
func tree(t testing.TB, seed string) []byte {
	return tarOf(t, entry{name: "bin/", kind: tar.TypeDir}, entry{name: "bin/x", body: strings.Repeat(seed, 5000)},
		entry{name: "bin/y", kind: tar.TypeSymlink, link: "x"})
}

func pack(t testing.TB, program string, b []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("program %s is missing", program)
	}
	c := exec.Command(program, "-c")
	c.Stdin = bytes.NewReader(b)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sum(b string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(b))) }

// dockerArchive is what docker save up to 24 writes.
func dockerArchive(t testing.TB, tags []string, layers ...[]byte) []byte {
	t.Helper()
	var entries []entry
	var names, diffs []string
	for i, l := range layers {
		n := fmt.Sprintf("layer%d/layer.tar", i)
		entries = append(entries, entry{name: n, body: string(l)})
		names = append(names, n)
		diffs = append(diffs, "sha256:"+sum(string(l)))
	}
	config, _ := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux", "odd_field": 1,
		"config": map[string]any{"Cmd": []string{"/bin/x"}}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	file := sum(string(config)) + ".json"
	manifest, _ := json.Marshal([]map[string]any{{"Config": file, "RepoTags": tags, "Layers": names}})
	entries = append(entries, entry{name: file, body: string(config)}, entry{name: "manifest.json", body: string(manifest)})
	return tarOf(t, entries...)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
