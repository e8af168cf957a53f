package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coracle/image"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestPullKinds(t *testing.T) {
	s := newServer(t)
	for _, docker := range []bool{true, false} {
		for _, pack := range []string{"gzip", "zstd", "plain"} {
			t.Run(fmt.Sprintf("docker=%v %s", docker, pack), func(t *testing.T) {
				tag := fmt.Sprintf("%v-%s", docker, pack)
				d := s.image("kinds", tag, recipe{docker: docker, pack: pack, layers: [][]byte{layerTar(t, "x"+tag, 300_000), layerTar(t, "y", 10)}})
				p := newPlace(t, "")
				var lines []string
				out, err := p.pull(client(t, "{}"), s.ref("kinds:"+tag), func(o *PullOptions) {
					o.Report = func(e Event) { lines = append(lines, e.ID+e.State+e.Line) }
				})
				img := p.whole(out, err)
				sent, _, err := p.store.Manifest(img)
				if err != nil || out.Digest != string(d.Digest) || !out.Fresh || sent.Digest != d.Digest || sent.MediaType != d.MediaType {
					t.Errorf("%+v, %+v, %v", out, sent, err)
				}
				if !slices.Equal(img.RepoTags, []string{s.host() + "/kinds:" + tag}) || !slices.Equal(img.RepoDigests, []string{s.host() + "/kinds@" + string(d.Digest)}) {
					t.Errorf("%v %v", img.RepoTags, img.RepoDigests)
				}
				for _, want := range []string{tag + ": Pulling from kinds", short(img.Layers[0].Digest) + Waiting, short(img.Layers[0].Digest) + Complete} {
					if !slices.Contains(lines, want) {
						t.Errorf("no %q in %q", want, lines)
					}
				}
				s.forget()
				out, err = p.pull(client(t, "{}"), s.ref("kinds:"+tag))
				if p.whole(out, err); out.Fresh || len(s.requests("GET /v2/kinds")) > 0 {
					t.Errorf("again: %+v, %v", out, s.requests("kinds"))
				}
				out, err = p.pull(client(t, "{}"), s.ref("kinds@"+string(d.Digest)))
				p.whole(out, err)
			})
		}
	}
}

func TestPullPlatforms(t *testing.T) {
	s := newServer(t)
	index := func(tag string, platforms ...string) {
		idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
		idx.SchemaVersion = 2
		attestation := s.image("multi", tag+"-attestation", recipe{layers: [][]byte{[]byte("{}")}})
		attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		idx.Manifests = append(idx.Manifests, attestation)
		for _, p := range platforms {
			arch, variant, _ := strings.Cut(p, "/")
			d := s.image("multi", tag+"-"+strings.ReplaceAll(p, "/", "-"), recipe{arch: arch, varint: variant, layers: [][]byte{layerTar(t, tag+p, 10)}})
			idx.Manifests = append(idx.Manifests, d)
		}
		s.document("multi", tag, idx.MediaType, idx)
	}
	index("all", "amd64", "386", "arm/v5", "arm/v6", "arm/v7", "arm64")
	index("old", "arm/v5", "arm/v6", "386")
	index("oldest", "arm/v5", "s390x")
	for _, c := range []struct{ tag, asked, want string }{
		{"all", "linux/amd64", "amd64"}, {"all", "linux/386", "386"}, {"all", "linux/arm/v7", "arm/v7"}, {"all", "arm64", "arm64"},
		{"old", "linux/arm/v7", "arm/v6"}, {"oldest", "linux/arm/v7", "arm/v5"}, {"oldest", "linux/arm/v6", "arm/v5"},
		{"old", "linux/amd64", "386"}, {"oldest", "linux/amd64", ""},
	} {
		p := newPlace(t, "")
		out, err := p.pull(client(t, "{}"), s.ref("multi:"+c.tag), func(o *PullOptions) { o.Platform = c.asked })
		if c.want == "" {
			if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no matching manifest for linux/amd64 in the manifest list entries (there are: linux/arm/v5, linux/s390x)") {
				t.Errorf("%s for %s: %v", c.tag, c.asked, err)
			}
			p.empty(true)
			continue
		}
		img := p.whole(out, err)
		if got := strings.TrimSuffix(img.Platform.Architecture+"/"+img.Platform.Variant, "/"); got != c.want {
			t.Errorf("%s for %s: got %s, want %s", c.tag, c.asked, got, c.want)
		}
	}
	// Another platform under the same name takes the name over.
	p := newPlace(t, "")
	for _, plat := range []string{"linux/arm64", "linux/amd64", "linux/arm64"} {
		out, err := p.pull(client(t, "{}"), s.ref("multi:all"), func(o *PullOptions) { o.Platform = plat })
		if img := p.whole(out, err); "linux/"+img.Platform.Architecture != plat || !slices.Contains(img.RepoTags, s.host()+"/multi:all") {
			t.Errorf("%s: %s %v", plat, img.Platform.Architecture, img.RepoTags)
		}
		// The name is that of the last, and leads to those of the same index.
		for _, asked := range []string{"linux/arm64", plat, ""} {
			got, err := p.store.Get(context.Background(), s.host()+"/multi:all", asked)
			if want := cmp.Or(asked, plat); err != nil || "linux/"+got.Platform.Architecture != want {
				t.Errorf("%q after %s: %+v, %v", asked, plat, got, err)
			}
		}
	}
	// A single manifest is no choice.
	_, err := newPlace(t, "").pull(client(t, "{}"), s.ref("multi:all-arm64"), func(o *PullOptions) { o.Platform = "linux/386" })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("another platform than asked for: %v", err)
	}
}

func isBlob(r *http.Request) bool {
	return r.Method == "GET" && strings.Contains(r.URL.Path, "/blobs/")
}

// TestPullBroken: whatever breaks off and comes back, the image arrives, and no
// byte is fetched twice.
func TestPullBroken(t *testing.T) {
	const size = 3 << 20
	for name, make := range map[string]func(n int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool{
		"connections drop": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !isBlob(r) {
					return false
				}
				next.ServeHTTP(&cutter{ResponseWriter: w, left: 1<<20 + 77}, r)
				return true
			}
		},
		"a stall": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var once atomic.Bool
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !isBlob(r) || once.Swap(true) {
					return false
				}
				next.ServeHTTP(&cutter{ResponseWriter: w, left: 1 << 20, stall: r.Context().Done()}, r)
				return true
			}
		},
		"500 twice": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if n.Add(1)%3 == 0 {
					return false
				}
				w.WriteHeader(500)
				return true
			}
		},
		"429 once": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var once atomic.Bool
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !isBlob(r) || once.Swap(true) {
					return false
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
				return true
			}
		},
		"416 for a part": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !isBlob(r) {
					return false
				}
				if r.Header.Get("Range") != "" {
					w.WriteHeader(416)
					return true
				}
				if n.Add(1) < 3 {
					w = &cutter{ResponseWriter: w, left: 1 << 20}
				}
				next.ServeHTTP(w, r)
				return true
			}
		},
		"no ranges": func(int) func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			var n atomic.Int32
			return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if !isBlob(r) {
					return false
				}
				r.Header.Del("Range")
				if n.Add(1) < 3 {
					w = &cutter{ResponseWriter: w, left: 1 << 20}
				}
				next.ServeHTTP(w, r)
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.image("broken", "1", recipe{layers: [][]byte{layerTar(t, "a", size), layerTar(t, "b", 100)}})
			s.fault(make(0))
			p := newPlace(t, "")
			out, err := p.pull(client(t, "{}"), s.ref("broken:1"))
			p.whole(out, err)
		})
	}
}

// cutter ends a response after some bytes, or waits then.
type cutter struct {
	http.ResponseWriter
	left  int
	stall <-chan struct{}
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	c.ResponseWriter.(http.Flusher).Flush()
	if c.stall != nil {
		<-c.stall
	}
	panic(http.ErrAbortHandler)
}

// TestPullHopeless: what does not come back is an error that says so, and what has
// come is kept and gone on with.
func TestPullHopeless(t *testing.T) {
	s := newServer(t)
	s.image("hopeless", "1", recipe{pack: "plain", layers: [][]byte{layerTar(t, "a", 1<<20)}})
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !isBlob(r) || r.Header.Get("Range") != "" {
			return isBlob(r) && func() bool { panic(http.ErrAbortHandler) }()
		}
		next.ServeHTTP(&cutter{ResponseWriter: w, left: 500_000}, r)
		return true
	})
	p := newPlace(t, "")
	_, err := p.pull(client(t, "{}"), s.ref("hopeless:1"))
	if !errors.Is(err, ErrReach) {
		t.Errorf("got %v", err)
	}
	p.empty(false)
	s.fault(nil)
	s.forget()
	out, err := p.pull(client(t, "{}"), s.ref("hopeless:1"))
	p.whole(out, err)
	got := slices.DeleteFunc(s.requests("GET /v2/hopeless/blobs"), func(l string) bool { return !strings.Contains(l, "bytes=") })
	if len(got) != 1 || !strings.Contains(got[0], "bytes=") || strings.HasSuffix(got[0], "bytes=0-") {
		t.Errorf("gone on with: %v", s.requests("blobs"))
	}
	if left, _ := os.ReadDir(p.dir + "/images/partial"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPullDamagedPartial: a power cut may leave zeros where bytes were.
func TestPullDamagedPartial(t *testing.T) {
	s := newServer(t)
	tarball := layerTar(t, "a", 1<<20)
	s.image("zeros", "1", recipe{layers: [][]byte{tarball}})
	p := newPlace(t, "")
	hex := strings.TrimPrefix(string(sum(packed(t, "gzip", tarball))), "sha256:")
	for _, left := range []int{0, 1, 4096, 1 << 20, 4 << 20} {
		in, err := p.store.Receive() // makes the directories
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		if err := os.WriteFile(p.dir+"/images/partial/"+hex, make([]byte, left), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := p.pull(client(t, "{}"), s.ref("zeros:1"))
		p.whole(out, err)
		if _, err := p.store.Remove(context.Background(), out.ID, image.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		for _, l := range []string{string(sum(tarball))} {
			p.snaps.RemoveLayer(context.Background(), l)
		}
	}
}

// TestPullMendsDamage: a blob of the store that has changed is fetched again.
func TestPullMendsDamage(t *testing.T) {
	s := newServer(t)
	s.image("mend", "1", recipe{pack: "plain", layers: [][]byte{layerTar(t, "a", 5000), layerTar(t, "b", 5000)}})
	p := newPlace(t, "")
	img := p.whole(p.pull(client(t, "{}"), s.ref("mend:1")))
	at := p.dir + "/images/blobs/" + strings.Replace(img.Layers[1].Digest, ":", "/", 1)
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	b[1000] ^= 1
	for _, damage := range [][]byte{b, b[:100], nil} {
		if err := os.WriteFile(at, damage, 0o600); err != nil {
			t.Fatal(err)
		}
		s.forget()
		p.whole(p.pull(client(t, "{}"), s.ref("mend:1")))
		if n := len(s.requests("GET /v2/mend/blobs/" + img.Layers[0].Digest)); n > 0 {
			t.Error("the blob that was right was fetched, too")
		}
	}
}

// TestPullShared: what another image has brought is not fetched.
func TestPullShared(t *testing.T) {
	s := newServer(t)
	var tars [][]byte
	for i := range 5 {
		tars = append(tars, layerTar(t, fmt.Sprint(i), 2000))
	}
	s.image("shared", "1", recipe{layers: tars[:4]})
	s.image("shared", "2", recipe{layers: tars})
	p := newPlace(t, "")
	p.whole(p.pull(client(t, "{}"), s.ref("shared:1")))
	s.forget()
	img := p.whole(p.pull(client(t, "{}"), s.ref("shared:2")))
	got := s.requests("GET /v2/shared/blobs/")
	if len(got) != 2 || !slices.ContainsFunc(got, func(l string) bool { return strings.HasSuffix(l, img.Layers[4].Digest) }) {
		t.Errorf("fetched %v", got) // the config and the fifth layer
	}
}

func TestPullWrongBytes(t *testing.T) {
	for name, c := range map[string]struct {
		pack  string
		fault func(w http.ResponseWriter, b []byte)
		want  string
	}{
		"a bit":       {"plain", func(w http.ResponseWriter, b []byte) { b[700] ^= 4; w.Write(b) }, "verification failed for digest"},
		"a bit, gzip": {"gzip", func(w http.ResponseWriter, b []byte) { b[len(b)/2] ^= 4; w.Write(b) }, "verification failed for digest"},
		"too short":   {"gzip", func(w http.ResponseWriter, b []byte) { length(w, len(b)-1); w.Write(b[:len(b)-1]) }, "the manifest says"},
		"too long":    {"gzip", func(w http.ResponseWriter, b []byte) { length(w, len(b)+1); w.Write(append(b, 0)) }, "the manifest says"},
		"too long, chunked": {"gzip", func(w http.ResponseWriter, b []byte) {
			w.(http.Flusher).Flush()
			w.Write(append(b, make([]byte, 1<<20)...))
		}, "is longer than the"},
		"too short, chunked": {"gzip", func(w http.ResponseWriter, b []byte) { w.(http.Flusher).Flush(); w.Write(b[:len(b)-1]) }, "the server ended after"},
		"another range": {"gzip", func(w http.ResponseWriter, b []byte) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 100-%d/%d", len(b)-1, len(b)))
			w.WriteHeader(206)
			w.Write(b[100:])
		}, "asked for bytes from 0"},
		"416": {"gzip", func(w http.ResponseWriter, b []byte) { w.WriteHeader(416) }, "has less than"},
		"404": {"gzip", func(w http.ResponseWriter, b []byte) { w.WriteHeader(404) }, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			tarball := layerTar(t, "a", 20_000)
			s.image("wrong", "1", recipe{pack: c.pack, layers: [][]byte{tarball}})
			bad := packed(t, c.pack, tarball)
			digest := string(sum(bad))
			s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
				if isBlob(r) && strings.HasSuffix(r.URL.Path, digest) {
					c.fault(w, slices.Clone(bad))
					return true
				}
				return false
			})
			p := newPlace(t, "")
			_, err := p.pull(client(t, "{}"), s.ref("wrong:1"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			p.empty(strings.Contains(c.want, "verification"))
			s.fault(nil)
			out, err := p.pull(client(t, "{}"), s.ref("wrong:1"))
			p.whole(out, err)
		})
	}
}

func length(w http.ResponseWriter, n int) { w.Header().Set("Content-Length", strconv.Itoa(n)) }

// TestPullLies: manifests that do not say what is.
func TestPullLies(t *testing.T) {
	s := newServer(t)
	tarball := layerTar(t, "a", 2000)
	for name, c := range map[string]struct {
		r    recipe
		want string
	}{
		"layer's size": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].Size++ }}, "the manifest says"},
		"huge size":    {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].Size = 1 << 60 }}, "a size of"},
		"negative":     {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].Size = -1 }}, "a size of -1 bytes"},
		"foreign":      {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].MediaType = dockerForeign + ".gzip" }}, "is foreign"},
		"nondistributable": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) {
			l[0].MediaType = ociForeign + "+gzip"
		}}, "is foreign"},
		"strange layer": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].MediaType = "application/x-rar" }}, `unsupported media type "application/x-rar"`},
		"digest":        {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].Digest = "sha256:../../../etc/passwd" }}, "is no sha256 digest"},
		"sha512":        {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { l[0].Digest = ocispecSHA512 }}, "is no sha256 digest"},
		"artifact": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) {
			c := m["config"].(ocispec.Descriptor)
			c.MediaType = "application/vnd.cncf.helm.config.v1+json"
			m["config"] = c
		}}, "is no container image"},
		"config's size": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) {
			c := m["config"].(ocispec.Descriptor)
			c.Size--
			m["config"] = c
		}}, "config sha256:"},
		"10,000 layers": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["layers"] = slices.Repeat(l, 10_000) }}, "10000 layers"},
		"too large": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) {
			m["annotations"] = map[string]string{"x": strings.Repeat("x", 5<<20)}
		}}, "4194304"},
		"two layers": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["layers"] = slices.Repeat(l, 2) }}, "1 diff IDs for 2 layers"},
		"diff ID": {recipe{config: func(c map[string]any) {
			c["rootfs"] = map[string]any{"type": "layers", "diff_ids": []string{string(sum(nil))}}
		}}, "its tar's digest is"},
		"bad diff ID":    {recipe{config: func(c map[string]any) { c["rootfs"] = map[string]any{"diff_ids": []string{"sha256:x"}} }}, "diff ID"},
		"Windows":        {recipe{config: func(c map[string]any) { c["os"] = "windows" }}, `image operating system "windows" cannot be used`},
		"schema version": {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["schemaVersion"] = 3 }}, "schema version 3"},
		"schema 1":       {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["schemaVersion"] = 1 }}, "schema version 1, which"},
		"kind":           {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["mediaType"] = ocispec.MediaTypeImageIndex }}, "something else"},
		"both":           {recipe{change: func(m map[string]any, l []ocispec.Descriptor) { m["manifests"] = []int{} }}, "something else"},
		"no gzip":        {recipe{pack: "plain", layers: [][]byte{[]byte("no tar at all, but long enough to be taken for one")}}, "unpack"},
		"cut gzip":       {recipe{pack: "plain", layers: [][]byte{packed(t, "gzip", tarball)[:1000]}}, "unpack"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.r.layers == nil {
				c.r.layers = [][]byte{tarball}
			}
			tag := strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return -1
				}
				return r
			}, name)
			s.image("lies", tag, c.r)
			p := newPlace(t, "")
			_, err := p.pull(client(t, "{}"), s.ref("lies:"+tag))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if !errors.Is(err, image.ErrInvalid) && !strings.Contains(c.want, "unpack") {
				t.Errorf("the class of the error: %v", err)
			}
			p.empty(true)
		})
	}
}

const ocispecSHA512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"

// TestIndexLies: what an index says of a manifest is compared with the manifest.
func TestIndexLies(t *testing.T) {
	s := newServer(t)
	good := s.image("index", "one", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	other := s.image("index", "two", recipe{arch: "arm64", layers: [][]byte{layerTar(t, "b", 10)}})
	here := *good.Platform
	for name, c := range map[string]struct {
		entry ocispec.Descriptor
		want  string
	}{
		"size":       {ocispec.Descriptor{MediaType: good.MediaType, Digest: good.Digest, Size: good.Size + 1, Platform: &here}, "the index says that manifest"},
		"media type": {ocispec.Descriptor{MediaType: dockerManifest, Digest: good.Digest, Size: good.Size, Platform: &here}, "the index says that manifest"},
		"platform":   {ocispec.Descriptor{MediaType: other.MediaType, Digest: other.Digest, Size: other.Size, Platform: &here}, "the index says that the image is for linux/amd64, but the image says linux/arm64"},
		"digest":     {ocispec.Descriptor{MediaType: good.MediaType, Digest: "sha256:zz", Size: good.Size, Platform: &here}, `digest "sha256:zz"`},
		"nothing":    {ocispec.Descriptor{MediaType: "application/x", Digest: good.Digest, Size: good.Size, Platform: &here}, "no matching manifest"},
	} {
		tag := strings.ReplaceAll(name, " ", "-")
		idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{c.entry}}
		idx.SchemaVersion = 2
		b := raw(t, idx)
		s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
			if !strings.HasSuffix(r.URL.Path, "/manifests/"+tag) {
				return false
			}
			w.Header().Set("Content-Type", idx.MediaType)
			w.Write(b)
			return true
		})
		p := newPlace(t, "")
		_, err := p.pull(client(t, "{}"), s.ref("index:"+tag), func(o *PullOptions) { o.Platform = "linux/amd64" })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		p.empty(true)
	}
	// A registry that lies about the digest of a tag, and one that sends another
	// manifest than the digest asks for.
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/one") {
			next.ServeHTTP(&relabel{w}, r)
			return true
		}
		if strings.HasSuffix(r.URL.Path, string(good.Digest)) {
			r.URL.Path = strings.Replace(r.URL.Path, string(good.Digest), string(other.Digest), 1)
		}
		return false
	})
	for _, ref := range []string{"index:one", "index@" + string(good.Digest)} {
		if _, err := newPlace(t, "").pull(client(t, "{}"), s.ref(ref)); !errors.Is(err, image.ErrInvalid) || !strings.Contains(err.Error(), "digest") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// relabel says a wrong digest.
type relabel struct{ http.ResponseWriter }

func (r *relabel) WriteHeader(code int) {
	r.Header().Set("Docker-Content-Digest", string(sum([]byte("x"))))
	r.ResponseWriter.WriteHeader(code)
}

// TestRedirects: a blob may be elsewhere, but our credentials do not go there.
func TestRedirects(t *testing.T) {
	var leaked []string
	var mu sync.Mutex
	s := newServer(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		leaked = append(leaked, r.Header.Values("Authorization")...)
		leaked = append(leaked, r.Header.Values("Cookie")...)
		mu.Unlock()
		u, _ := url.Parse(s.URL)
		u.Path = strings.TrimPrefix(r.URL.Path, "/moved")
		req, _ := http.NewRequest("GET", u.String(), nil)
		req.SetBasicAuth("me", "secret")
		req.Header.Set("X-Through", "1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	}))
	defer elsewhere.Close()
	s.image("moved", "1", recipe{layers: [][]byte{layerTar(t, "a", 1000)}})
	to := elsewhere.URL + "/moved"
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if user, pass, ok := r.BasicAuth(); !ok || user != "me" || pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}
		if isBlob(r) && r.Header.Get("X-Through") == "" {
			http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	c := client(t, "{}")
	c.creds = somebody{Username: "me", Password: "secret"}
	p := newPlace(t, "")
	p.whole(p.pull(c, s.ref("moved:1")))
	if len(leaked) > 0 {
		t.Errorf("the other host was told %q", leaked)
	}
	for _, bad := range []string{"file:///etc/passwd", "gopher://" + elsewhere.Listener.Addr().String(), "ftp://127.0.0.1"} {
		to = bad
		p := newPlace(t, "")
		_, err := p.pull(c, s.ref("moved:1"))
		if !errors.Is(err, ErrRedirect) || !strings.Contains(err.Error(), "which is not HTTPS") {
			t.Errorf("%s: %v", bad, err)
		}
		p.empty(true)
	}
	to = s.URL + "/loop" // leads to itself
	if _, err := newPlace(t, "").pull(c, s.ref("moved:1")); err == nil {
		t.Error("a circle of redirects")
	}
}

func TestRateLimit(t *testing.T) {
	s := newServer(t)
	s.image("limited", "1", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Retry-After", "3600")
		w.Header().Set("Ratelimit-Limit", "100;w=21600")
		w.WriteHeader(429)
		io.WriteString(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`)
		return true
	})
	began := time.Now()
	_, err := newPlace(t, "").pull(client(t, "{}"), s.ref("limited:1"))
	want := "toomanyrequests: You have reached your pull rate limit. (the limit is 100 pulls in 6h0m0s; it may be asked again in 1h0m0s)"
	if !errors.Is(err, ErrLimited) || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if time.Since(began) > 10*time.Second {
		t.Error("waited for what will not come")
	}
}

func TestMirrors(t *testing.T) {
	s := newServer(t)
	d := s.image("library/thing", "latest", recipe{layers: [][]byte{layerTar(t, "a", 10)}})
	p := newPlace(t, "")
	ref := s.ref("x")
	ref.Domain, ref.Path = "docker.io", "library/thing"
	// The first does not answer, the second has it.
	c := client(t, `{"registry-mirrors":["http://127.0.0.1:1","`+s.URL+`"]}`)
	img := p.whole(p.pull(c, ref))
	if !slices.Equal(img.RepoTags, []string{"thing:latest"}) || !slices.Equal(img.RepoDigests, []string{"thing@" + string(d.Digest)}) {
		t.Errorf("%v %v", img.RepoTags, img.RepoDigests)
	}
}

// TestPullReadsOnce: a layer that an image has three times is fetched once.
func TestPullReadsOnce(t *testing.T) {
	s := newServer(t)
	l := layerTar(t, "same", 5000)
	s.image("twice", "1", recipe{layers: [][]byte{l, l, l}})
	p := newPlace(t, "")
	p.whole(p.pull(client(t, "{}"), s.ref("twice:1")))
	if got := s.requests("GET /v2/twice/blobs/" + string(sum(packed(t, "gzip", l)))); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
