package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"coracle/image/name"

	"github.com/opencontainers/go-digest"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestImport(t *testing.T) {
	ctx := context.Background()
	plain := tree(t, "import")
	for _, c := range []struct{ name, program, mediaType string }{
		{"plain", "", "application/vnd.oci.image.layer.v1.tar"},
		{"gzip", "gzip", "application/vnd.oci.image.layer.v1.tar+gzip"},
		{"zstd", "zstd", "application/vnd.oci.image.layer.v1.tar+zstd"},
		{"bzip2", "bzip2", "application/vnd.oci.image.layer.v1.tar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			in := plain
			if c.program != "" {
				in = pack(t, c.program, plain)
			}
			id, err := s.Import(ctx, bytes.NewReader(in), ImportOptions{Ref: "x/y", Message: "m", Platform: "linux/arm/v6",
				Changes: []string{`CMD ["a"]`, "ENV A=b C=$A"}})
			if err != nil {
				t.Fatal(err)
			}
			img, err := s.Get(ctx, "x/y:latest", "")
			if err != nil {
				t.Fatal(err)
			}
			if img.ID != id || img.Layers[0].MediaType != c.mediaType || img.Layers[0].DiffID != "sha256:"+sum(string(plain)) {
				t.Errorf("%+v", img)
			}
			if img.Platform.Architecture != "arm" || img.Platform.Variant != "v6" || img.Config.Config.Cmd[0] != "a" || img.Config.History[0].Comment != "m" {
				t.Errorf("%+v", img.Config)
			}
			r, err := s.SnapshotLayers(img)[0].Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(out, plain) {
				t.Errorf("%d bytes, %v", len(out), err)
			}
			if fsck(t, s.dir) != 1 {
				t.Error("not one image")
			}
			clean(t, s)
		})
	}
}

func TestImportRefuses(t *testing.T) {
	ctx := context.Background()
	plain := tree(t, "r")
	gz := pack(t, "gzip", plain)
	for what, in := range map[string][]byte{
		"empty":              nil,
		"text":               bytes.Repeat([]byte("no tar "), 500),
		"cut between files":  plain[:512],
		"cut in a file":      plain[:2000],
		"cut gzip":           gz[:len(gz)/2],
		"gzip without crc":   gz[:len(gz)-3],
		"gzip of text":       pack(t, "gzip", []byte("hello")),
		"xz":                 append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, plain...),
		"cut zstd":           pack(t, "zstd", plain)[:40],
		"gzip and then junk": append(slices.Clone(gz), "junk"...),
	} {
		s := newStore(t)
		_, err := s.Import(ctx, bytes.NewReader(in), ImportOptions{Ref: "x"})
		if err == nil {
			t.Errorf("%s was taken", what)
		} else {
			t.Logf("%s: %v", what, err)
		}
		if fsck(t, s.dir) != 0 {
			t.Errorf("%s left an image", what)
		}
		clean(t, s)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestReaderErrorsStay(t *testing.T) {
	s := newStore(t)
	half := tree(t, "x")[:3000]
	for what, run := range map[string]func(io.Reader) error{
		"import": func(r io.Reader) error {
			_, err := s.Import(context.Background(), r, ImportOptions{})
			return err
		},
		"load": func(r io.Reader) error { _, err := s.Load(context.Background(), r, LoadOptions{}); return err },
	} {
		err := run(io.MultiReader(bytes.NewReader(half), failing{&os.PathError{Op: "read", Path: "x", Err: syscall.EIO}}))
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", what, err)
		}
		clean(t, s)
	}
}

func TestNamesAndIDs(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	if _, err := s.Get(ctx, "debian", ""); !errors.Is(err, ErrNotFound) || err.Error() != "No such image: debian:latest" {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(s.dir); err == nil {
		t.Error("looking made a store")
	}
	id, err := s.Import(ctx, bytes.NewReader(tree(t, "a")), ImportOptions{Ref: "debian"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, id[7:19], "localhost:5000/deb:12"); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"debian", "debian:latest", "docker.io/library/debian", id, id[7:], id[7:11], id[:12], "localhost:5000/deb:12"} {
		img, err := s.Get(ctx, ref, "")
		if err != nil || img.ID != id || !slices.Equal(img.RepoTags, []string{"debian:latest", "localhost:5000/deb:12"}) {
			t.Errorf("%s: %+v, %v", ref, img, err)
		}
	}
	if _, err := s.Get(ctx, "Debian", ""); !errors.Is(err, name.ErrFormat) {
		t.Errorf("%v", err)
	}
	if _, err := s.Get(ctx, "debian", "linux/s390x"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "linux/amd64") && !strings.Contains(err.Error(), "linux/") {
		t.Errorf("%v", err)
	} else {
		t.Log(err)
	}
	// A prefix of two images' IDs: with 40 images, two share a first digit.
	for i := range 40 {
		if _, err := s.Import(ctx, bytes.NewReader(tree(t, strconv.Itoa(i))), ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var ambiguous bool
	for _, p := range strings.Split("0123456789abcdef", "") {
		if _, err := s.Get(ctx, p, ""); errors.Is(err, ErrAmbiguous) {
			ambiguous = true
		}
	}
	if !ambiguous {
		t.Error("no prefix was ambiguous")
	}
	// A name moves; the image that had it stays without one.
	id2, err := s.Import(ctx, bytes.NewReader(tree(t, "b")), ImportOptions{Ref: "debian"})
	if err != nil {
		t.Fatal(err)
	}
	if img, err := s.Get(ctx, id, ""); err != nil || !slices.Equal(img.RepoTags, []string{"localhost:5000/deb:12"}) {
		t.Errorf("%+v, %v", img, err)
	}
	if img, err := s.Get(ctx, "debian", ""); err != nil || img.ID != id2 {
		t.Errorf("%+v, %v", img, err)
	}
	if n := fsck(t, s.dir); n != 42 {
		t.Errorf("%d images", n)
	}
}

func TestRemove(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	shared, own := tree(t, "shared"), tree(t, "own")
	for _, a := range [][]byte{dockerArchive(t, []string{"a:1", "b:1"}, shared, own), dockerArchive(t, []string{"c:1"}, shared)} {
		if _, err := s.Load(ctx, bytes.NewReader(a), LoadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	img, err := s.Get(ctx, "a:1", "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Remove(ctx, img.ID, RemoveOptions{})
	if !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "(must be forced)") {
		t.Errorf("%v", err)
	}
	lines, err := s.Remove(ctx, "a:1", RemoveOptions{})
	if err != nil || !slices.Equal(lines, []string{"Untagged: a:1"}) {
		t.Errorf("%q, %v", lines, err)
	}
	lines, err = s.Remove(ctx, "b:1", RemoveOptions{})
	want := []string{"Untagged: b:1", "Deleted: " + img.ID, "Deleted: " + img.Layers[1].ChainID}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("%q, %v", lines, err)
	}
	clean(t, s)
	if fsck(t, s.dir) != 1 {
		t.Error("the other image is gone too")
	}
	if _, err := s.Remove(ctx, "b:1", RemoveOptions{Force: true}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	img, _ = s.Get(ctx, "c:1", "")
	s.Tag(ctx, "c:1", "d:1")
	lines, err = s.Remove(ctx, img.ID[7:15], RemoveOptions{Force: true})
	if err != nil || len(lines) != 4 || lines[2] != "Deleted: "+img.ID {
		t.Errorf("%q, %v", lines, err)
	}
	clean(t, s)
	if b, _ := os.ReadDir(s.path(blobDir)); len(b) != 0 {
		t.Errorf("%d blobs left", len(b))
	}
}

// TestRemoveDigests: the digests of a repository go with its last tag there, whatever
// tags other repositories have; and a digest alone.
func TestRemoveDigests(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	ids, err := s.Load(ctx, bytes.NewReader(dockerArchive(t, []string{"a:1", "a:2", "b:1"}, tree(t, "x"))), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	digests := []string{"sha256:" + strings.Repeat("1", 64), "sha256:" + strings.Repeat("2", 64)}
	var names []name.Ref
	for _, repo := range []string{"a", "b", "c"} {
		for _, d := range digests {
			n, err := name.Parse(repo + "@" + d)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, n)
		}
	}
	if err := s.Name(ids[0].ID, names); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		ref  string
		want []string
	}{
		{"a:1", []string{"Untagged: a:1"}},
		{"a:2", []string{"Untagged: a:2", "Untagged: a@" + digests[0], "Untagged: a@" + digests[1]}},
		{"c@" + digests[0], []string{"Untagged: c@" + digests[0]}},
		{"b:1", []string{"Untagged: b:1", "Untagged: b@" + digests[0], "Untagged: b@" + digests[1]}},
		{"c@" + digests[1], []string{"Untagged: c@" + digests[1], "Deleted: " + ids[0].ID}},
	} {
		got, err := s.Remove(ctx, step.ref, RemoveOptions{})
		if len(got) > len(step.want) && strings.HasPrefix(got[len(got)-1], "Deleted: ") {
			got = got[:len(got)-1] // of the layer
		}
		slices.Sort(got)
		slices.Sort(step.want)
		if err != nil || !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, %v", step.ref, got, err)
		}
	}
	clean(t, s)
}

func TestRemoveDamaged(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	in := dockerArchive(t, []string{"a:1"}, tree(t, "x"))
	if _, err := s.Load(ctx, bytes.NewReader(in), LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	img, _ := s.Get(ctx, "a:1", "")
	if err := os.WriteFile(s.blobPath(img.Layers[0].Digest), []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := s.SnapshotLayers(img)[0].Open(ctx)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if _, err := s.Load(ctx, bytes.NewReader(in), LoadOptions{}); err != nil { // mends
		t.Fatal(err)
	}
	fsck(t, s.dir)
	if err := os.WriteFile(s.blobPath(img.ID), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(ctx); err != nil || len(list) != 1 || list[0].ID != img.ID || list[0].RepoTags[0] != "a:1" {
		t.Errorf("%+v, %v", list, err)
	}
	if lines, err := s.Remove(ctx, "a:1", RemoveOptions{}); err != nil || len(lines) != 2 {
		t.Errorf("%q, %v", lines, err)
	}
	clean(t, s)
}

func TestStoreRefuses(t *testing.T) {
	ctx := context.Background()
	put := func(s *Store) error {
		_, err := s.Import(ctx, bytes.NewReader(tree(t, "x")), ImportOptions{})
		return err
	}
	s := newStore(t)
	if err := put(s); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(s.path(versionFile), []byte("2\n"), 0o600)
	if err := put(s); !errors.Is(err, ErrVersion) {
		t.Errorf("newer: %v", err)
	}
	if _, err := s.Get(ctx, "x", ""); !errors.Is(err, ErrVersion) {
		t.Errorf("newer: %v", err)
	}
	foreign := t.TempDir()
	os.WriteFile(filepath.Join(foreign, "passwd"), nil, 0o600)
	s, _ = Open(foreign)
	if err := put(s); !errors.Is(err, ErrNotStore) {
		t.Errorf("foreign: %v", err)
	}
	if _, err := s.List(ctx); !errors.Is(err, ErrNotStore) {
		t.Errorf("foreign: %v", err)
	}
	file := filepath.Join(foreign, "passwd")
	s, _ = Open(file)
	if err := put(s); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("file: %v", err)
	}
}

func mountTmpfs(t *testing.T, data string, flags uintptr) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root is missing: it mounts a tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, data); err != nil {
		t.Skipf("mount of a tmpfs is missing: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullAndReadOnly(t *testing.T) {
	ctx := context.Background()
	dir := mountTmpfs(t, "size=200k", 0)
	s, _ := Open(filepath.Join(dir, "images"))
	big := tarOf(t, entry{name: "big", body: strings.Repeat("0123456789abcdef", 40000)})
	if _, err := s.Import(ctx, bytes.NewReader(big), ImportOptions{Ref: "x"}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("import: %v", err)
	}
	clean(t, s)
	if _, err := s.Load(ctx, bytes.NewReader(dockerArchive(t, []string{"x"}, big)), LoadOptions{}); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrInvalid) {
		t.Errorf("load: %v", err)
	}
	clean(t, s)
	if _, err := s.Load(ctx, bytes.NewReader(dockerArchive(t, []string{"x"}, tree(t, "x"))), LoadOptions{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if fsck(t, s.dir) != 1 {
		t.Error("not one image")
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "x", ""); err != nil {
		t.Errorf("read-only get: %v", err)
	}
	if _, err := s.Import(ctx, bytes.NewReader(tree(t, "y")), ImportOptions{}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("read-only import: %v", err)
	} else {
		t.Log(err)
	}
}

func TestConcurrent(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s, _ := Open(s.dir)             // as another process would
			seed := strconv.Itoa(i / 2 % 5) // four loads of each image
			in := dockerArchive(t, []string{"n" + strconv.Itoa(i)}, tree(t, "base"), tree(t, seed))
			if _, err := s.Load(ctx, bytes.NewReader(in), LoadOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := s.Import(ctx, bytes.NewReader(tree(t, "gone")), ImportOptions{Ref: "gone" + strconv.Itoa(i)}); err != nil {
				t.Error(err)
			}
			if _, err := s.Remove(ctx, "gone"+strconv.Itoa(i), RemoveOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fsck(t, s.dir); n != 5 {
		t.Errorf("%d images", n)
	}
	for i := range 20 {
		if _, err := s.Get(ctx, "n"+strconv.Itoa(i), ""); err != nil {
			t.Error(err)
		}
	}
	clean(t, s)
}

func TestPut(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	l, err := s.PutLayer(ctx, bytes.NewReader(tree(t, "put")), "")
	if err != nil {
		t.Fatal(err)
	}
	// A removal and another load in between do no harm.
	if _, err := s.Import(ctx, bytes.NewReader(tree(t, "x")), ImportOptions{Ref: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "x", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	var c dockerspec.DockerOCIImage
	c.OS, c.Architecture = "linux", "386"
	id, err := s.PutImage(ctx, c, []Layer{l}, []string{"box"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.PutImage(ctx, c, []Layer{l}, []string{"box2"})
	if err != nil || again != id {
		t.Errorf("%s, %v", again, err)
	}
	if img, err := s.Get(ctx, "box", "linux/amd64"); err != nil || img.ID != id || len(img.RepoTags) != 2 {
		t.Errorf("%+v, %v", img, err)
	}
	clean(t, s)
	if _, err := s.PutImage(ctx, c, []Layer{{Digest: "sha256:" + sum("no"), DiffID: "sha256:" + sum("no")}}, nil); err == nil {
		t.Error("an image of a layer that is not there was taken")
	}
	clean(t, s)
	fsck(t, s.dir)
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 10, 300} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			ctx := context.Background()
			s, _ := Open(filepath.Join(b.TempDir(), "i"))
			if _, err := s.Import(ctx, bytes.NewReader(tree(b, "x")), ImportOptions{Ref: "x0"}); err != nil {
				b.Fatal(err)
			}
			idx, err := s.readIndex()
			if err != nil {
				b.Fatal(err)
			}
			for i := range n - 1 { // names of images that are never read
				d := idx.Manifests[0]
				d.Digest = digest.Digest("sha256:" + sum(strconv.Itoa(i)))
				ref := "x" + strconv.Itoa(i+1) + ":latest"
				d.Annotations = map[string]string{configAnnotation: string(d.Digest), "org.opencontainers.image.ref.name": ref,
					name.ContainerdAnnotation: "docker.io/library/" + ref}
				idx.Manifests = append(idx.Manifests, d)
			}
			if err := s.writeIndex(idx); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Get(ctx, "x0", ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
