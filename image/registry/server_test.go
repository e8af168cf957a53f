package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/fs/overlay"
	"coracle/fs/snapshot"
	"coracle/image"
	"coracle/image/name"
	"coracle/internal/config"

	"github.com/google/go-containerregistry/pkg/authn"
	inprocess "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// server is go-containerregistry's registry behind what a test puts before it.
type server struct {
	*httptest.Server
	t    testing.TB
	mu   sync.Mutex
	seen []string // "METHOD path Range"
	// before may answer in the registry's place, and says whether it has.
	before func(w http.ResponseWriter, r *http.Request, next http.Handler) bool
}

func newServer(t testing.TB) *server {
	s := &server{t: t}
	real := inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		line := r.Method + " " + r.URL.Path
		if v := r.Header.Get("Range"); v != "" {
			line += " " + v
		}
		s.seen = append(s.seen, line)
		before := s.before
		s.mu.Unlock()
		if before == nil || !before(w, r, real) {
			real.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// host is "127.0.0.1:PORT".
func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) ref(rest string) name.Ref {
	s.t.Helper()
	n, err := name.Parse(s.host() + "/" + rest)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// requests are those that contain part.
func (s *server) requests(part string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.seen {
		if strings.Contains(l, part) {
			out = append(out, l)
		}
	}
	return out
}

func (s *server) forget() {
	s.mu.Lock()
	s.seen = nil
	s.mu.Unlock()
}

func (s *server) fault(f func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) {
	s.mu.Lock()
	s.before = f
	s.mu.Unlock()
}

func (s *server) put(method, path, contentType string, body []byte) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		b, _ := io.ReadAll(res.Body)
		s.t.Fatalf("%s %s: %s %s", method, path, res.Status, b)
	}
}

func sum(b []byte) digest.Digest {
	return digest.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(b)))
}

func (s *server) blob(repo string, b []byte) ocispec.Descriptor {
	s.t.Helper()
	s.put("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(sum(b)), octets, b)
	return ocispec.Descriptor{Digest: sum(b), Size: int64(len(b))}
}

func (s *server) document(repo, tag, mediaType string, v any) ocispec.Descriptor {
	s.t.Helper()
	b := raw(s.t, v)
	s.put("PUT", "/v2/"+repo+"/manifests/"+tag, mediaType, b)
	return ocispec.Descriptor{MediaType: mediaType, Digest: sum(b), Size: int64(len(b))}
}

func raw(t testing.TB, v any) []byte {
	t.Helper()
	if b, ok := v.([]byte); ok {
		return b
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recipe says what image to make.
type recipe struct {
	docker bool
	pack   string // "gzip" (the default), "zstd", "plain"
	arch   string
	varint string
	layers [][]byte // tars
	change func(m map[string]any, layers []ocispec.Descriptor)
	config func(c map[string]any)
}

// image puts an image into the server.
func (s *server) image(repo, tag string, r recipe) ocispec.Descriptor {
	s.t.Helper()
	base := ocispec.MediaTypeImageLayer
	kind, configKind := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	suffix := map[string]string{"": "+gzip", "gzip": "+gzip", "zstd": "+zstd", "plain": ""}[r.pack]
	if r.docker {
		base, kind, configKind = dockerLayer, dockerManifest, dockerConfig1
		suffix = strings.Replace(suffix, "+", ".", 1)
	}
	if r.arch == "" {
		r.arch = "amd64"
	}
	var layers []ocispec.Descriptor
	var diffs []string
	for _, l := range r.layers {
		d := s.blob(repo, packed(s.t, r.pack, l))
		d.MediaType = base + suffix
		layers = append(layers, d)
		diffs = append(diffs, string(sum(l)))
	}
	c := map[string]any{"os": "linux", "architecture": r.arch, "config": map[string]any{"Cmd": []string{"/x"}}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}}
	if r.varint != "" {
		c["variant"] = r.varint
	}
	if r.config != nil {
		r.config(c)
	}
	config := s.blob(repo, raw(s.t, c))
	config.MediaType = configKind
	m := map[string]any{"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
	if r.change != nil {
		r.change(m, layers)
	}
	d := s.document(repo, tag, kind, m)
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: r.arch, Variant: r.varint}
	return d
}

func packed(t testing.TB, how string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	switch how {
	case "plain":
		return b
	case "zstd":
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(b)
		w.Close()
	default:
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
	}
	return out.Bytes()
}

// layerTar is a tar with one file of size bytes that no compression makes smaller.
func layerTar(t testing.TB, file string, size int) []byte {
	t.Helper()
	body := make([]byte, size)
	rnd := rand.NewChaCha8(sha256.Sum256([]byte(file)))
	rnd.Read(body)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(size), Uid: os.Geteuid(), Gid: os.Getegid()}); err != nil {
		t.Fatal(err)
	}
	w.Write(body)
	w.Close()
	return b.Bytes()
}

// place is a store and a snapshot driver.
type place struct {
	t     testing.TB
	dir   string
	store *image.Store
	snaps snapshot.Driver
}

func newPlace(t testing.TB, dir string) *place {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	store, err := image.Open(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	snaps, err := overlay.New(filepath.Join(dir, "fs"), snapshot.Options{Squash: os.Geteuid() != 0})
	if err != nil {
		t.Fatal(err)
	}
	return &place{t, dir, store, snaps}
}

func (p *place) pull(c *Client, ref name.Ref, opts ...func(*PullOptions)) (*Pulled, error) {
	opt := PullOptions{Unpack: p.snaps.Unpack}
	for _, o := range opts {
		o(&opt)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.Pull(ctx, p.store, ref, opt)
}

// whole fails unless the image is complete and unpacked.
func (p *place) whole(out *Pulled, err error) *image.Image {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	img, err := p.store.Get(context.Background(), out.ID, "")
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.store.Verify(context.Background(), img); err != nil {
		p.t.Fatal(err)
	}
	for _, l := range p.store.SnapshotLayers(img) {
		if !p.snaps.Has(l.ChainID) {
			p.t.Errorf("layer %s is not unpacked", l.ChainID)
		}
	}
	return img
}

// empty fails unless nothing has come in.
func (p *place) empty(parts bool) {
	p.t.Helper()
	if all, err := p.store.List(context.Background()); err != nil || len(all) > 0 {
		p.t.Errorf("%d images, %v", len(all), err)
	}
	dirs := []string{"images/blobs/sha256", "images/tmp"}
	if parts {
		dirs = append(dirs, "images/partial")
	}
	for _, d := range dirs {
		left, _ := os.ReadDir(filepath.Join(p.dir, d))
		for _, e := range left {
			p.t.Errorf("left in %s: %s", d, e.Name())
		}
	}
	if l, err := p.snaps.Layers(); err != nil || len(l) > 0 {
		p.t.Errorf("%d layers are unpacked, %v", len(l), err)
	}
}

// nobody has no credentials.
type nobody struct{}

func (nobody) For(string) (authn.AuthConfig, error) { return authn.AuthConfig{}, nil }

// somebody has the same ones everywhere.
type somebody authn.AuthConfig

func (s somebody) For(string) (authn.AuthConfig, error) { return authn.AuthConfig(s), nil }

// client is one that does not wait long.
func client(t testing.TB, text string) *Client {
	t.Helper()
	conf, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := New(conf)
	c.certs, c.creds, c.stall = nil, nobody{}, time.Second
	c.pause = func(int) time.Duration { return time.Millisecond }
	return c
}
