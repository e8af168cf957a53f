package box

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/image"
	"coracle/image/box/applet"
)

func store(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEnsure(t *testing.T) {
	ctx, s := context.Background(), store(t)
	id, err := Ensure(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Get(ctx, "box", "")
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != id || img.Platform.Architecture != runtime.GOARCH || img.Platform.OS != "linux" || len(img.Layers) != 1 {
		t.Errorf("image %+v", img)
	}
	if got := strings.Join(img.Config.Config.Cmd, " "); got != "sh" {
		t.Errorf("command %q", got)
	}
	index, err := os.Stat(filepath.Join(s.Dir(), "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		again, err := Ensure(ctx, s)
		if err != nil || again != id {
			t.Fatalf("second time: %s, %v; first %s", again, err, id)
		}
	}
	if now, _ := os.Stat(filepath.Join(s.Dir(), "index.json")); !os.SameFile(index, now) || !now.ModTime().Equal(index.ModTime()) {
		t.Error("an unchanged image was written again")
	}
	// Another store, another time: the same image.
	other, err := Ensure(ctx, store(t))
	if err != nil || other != id {
		t.Errorf("not deterministic: %s and %s, %v", id, other, err)
	}
}

func TestEnsureMakesWhatWasRemoved(t *testing.T) {
	ctx, s := context.Background(), store(t)
	id, err := Ensure(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "box", image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "box", ""); !errors.Is(err, image.ErrNotFound) {
		t.Fatalf("after removal: %v", err)
	}
	if again, err := Ensure(ctx, s); err != nil || again != id {
		t.Fatalf("%s, %v", again, err)
	}
	if _, err := s.Get(ctx, "box", ""); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureRefreshesForAnotherBinary(t *testing.T) {
	ctx, s := context.Background(), store(t)
	id, err := Ensure(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := native().readStamp(s)
	m.binary = "1:2:3:4.5:6.7"
	native().writeStamp(s, m, id)
	if again, err := Ensure(ctx, s); err != nil || again != id {
		t.Fatalf("%s, %v", again, err)
	}
	if now, _ := native().readStamp(s); now.binary == m.binary {
		t.Error("the stamp of another binary was believed")
	}
}

func TestEnsureLeavesAnothersImageAlone(t *testing.T) {
	ctx, s := context.Background(), store(t)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	tw.Close()
	id, err := s.Import(ctx, &b, image.ImportOptions{Ref: Ref})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Ensure(ctx, s); err != nil || got != id {
		t.Fatalf("%s, %v; want %s", got, err, id)
	}
}

func TestEnsureAtOnce(t *testing.T) {
	ctx, s := context.Background(), store(t)
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() {
			// Each as a process of its own would have it.
			mine, err := image.Open(s.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			if ids[i], err = Ensure(ctx, mine); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("%s and %s", id, ids[0])
		}
	}
	left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v %v", left, err)
	}
}

func TestEnsureGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := store(t)
	if _, err := Ensure(ctx, s); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	if _, err := Ensure(context.Background(), s); err != nil {
		t.Fatalf("after a cancelled one: %v", err)
	}
}

func TestLayer(t *testing.T) {
	var b bytes.Buffer
	if err := writeLayer(&b, strings.NewReader("binary"), 6); err != nil {
		t.Fatal(err)
	}
	seen := map[string]*tar.Header{}
	tr := tar.NewReader(&b)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has the time %v", h.Name, h.ModTime)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if seen[name] != nil {
			t.Errorf("%s twice", name)
		}
		if d := filepath.Dir(name); d != "." && seen[d] == nil {
			t.Errorf("%s comes before its directory", name)
		}
		seen[name] = h
	}
	for _, name := range append([]string{"box"}, applet.Names()...) {
		if seen["bin/"+name] == nil {
			t.Errorf("no bin/%s", name)
		}
	}
	if h := seen["tmp"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("tmp: %+v", h)
	}
	if seen["bin/coracle"] != nil || seen["bin/docker"] != nil {
		t.Error("a name that means the whole program")
	}
}

func TestIsBox(t *testing.T) {
	for ref, want := range map[string]bool{"box": true, "box:latest": true, "box:1": false, "busybox": false, "x/box": false} {
		if IsBox(ref) != want {
			t.Errorf("%q: %v", ref, !want)
		}
	}
}

// BenchmarkEnsure is what every start of a box container pays.
func BenchmarkEnsure(b *testing.B) {
	ctx, s := context.Background(), store(b)
	if _, err := Ensure(ctx, s); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Ensure(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFirst(b *testing.B) {
	for b.Loop() {
		if _, err := Ensure(context.Background(), store(b)); err != nil {
			b.Fatal(err)
		}
	}
}
