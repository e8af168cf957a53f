package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/image"
	"coracle/image/name"
)

// pullInto is what TestPullKilled's child does.
func pullInto(t *testing.T, dir, ref string) {
	n, err := name.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t, dir)
	fmt.Println("ready")
	p.whole(p.pull(client(t, "{}"), n))
}

// slowly sends blobs at a pace that leaves time to be killed in.
func slowly(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
	if isBlob(r) {
		next.ServeHTTP(&slow{w}, r)
		return true
	}
	return false
}

type slow struct{ http.ResponseWriter }

func (s *slow) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += 16 << 10 {
		if _, err := s.ResponseWriter.Write(b[n:min(n+16<<10, len(b))]); err != nil {
			return n, err
		}
		s.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(500 * time.Microsecond)
	}
	return len(b), nil
}

// sound fails unless all images of a store are complete.
func (p *place) sound() int {
	p.t.Helper()
	all, err := p.store.List(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, img := range all {
		if err := p.store.Verify(context.Background(), img); err != nil {
			p.t.Fatalf("image %s: %v", img.ID, err)
		}
	}
	return len(all)
}

// TestPullKilled: at whatever point a pull is killed, the store holds whole images
// or none, and the next pull goes on with what has come.
func TestPullKilled(t *testing.T) {
	if dir := os.Getenv("CORACLE_TEST_PULL_DIR"); dir != "" {
		pullInto(t, dir, os.Getenv("CORACLE_TEST_PULL_REF"))
		return
	}
	s := newServer(t)
	var tars [][]byte
	for i := range 4 {
		tars = append(tars, layerTar(t, fmt.Sprint("k", i), 1<<20))
	}
	s.image("killed", "1", recipe{layers: tars})
	s.fault(slowly)
	dir := t.TempDir()
	rounds := 50
	if testing.Short() {
		rounds = 8
	}
	finished := 0
	for range rounds {
		c := exec.Command(os.Args[0], "-test.run=^TestPullKilled$")
		c.Env = append(os.Environ(), "CORACLE_TEST_PULL_DIR="+dir, "CORACLE_TEST_PULL_REF="+s.ref("killed:1").String())
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		bufio.NewReader(out).ReadString('\n')
		time.Sleep(time.Duration(rand.IntN(150_000)) * time.Microsecond)
		c.Process.Kill()
		c.Wait()
		p := newPlace(t, dir)
		if p.sound() > 0 {
			finished++
			out, err := p.pull(client(t, "{}"), s.ref("killed:1"))
			img := p.whole(out, err)
			if _, err := p.store.Remove(context.Background(), img.ID, image.RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			for i := len(img.Layers) - 1; i >= 0; i-- {
				if err := p.snaps.RemoveLayer(context.Background(), img.Layers[i].ChainID); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p := newPlace(t, dir)
	out, err := p.pull(client(t, "{}"), s.ref("killed:1"))
	p.whole(out, err)
	if err := p.snaps.Clean(context.Background()); err != nil {
		t.Error(err)
	}
	for _, sub := range []string{"images/tmp", "images/partial", "fs/layers/tmp"} {
		if left, _ := os.ReadDir(dir + "/" + sub); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
	resumed := len(s.requests("bytes="))
	t.Logf("%d kills, %d after the end, %d layers gone on with", rounds, finished, resumed)
	if resumed == 0 {
		t.Error("no layer was ever gone on with")
	}
}

// TestPullsAtOnce: many pulls of images that share layers, in one process or in
// several (the locks are files), fetch each layer once.
func TestPullsAtOnce(t *testing.T) {
	s := newServer(t)
	a, b, c := layerTar(t, "a", 200_000), layerTar(t, "b", 200_000), layerTar(t, "c", 200_000)
	s.image("at-once", "1", recipe{layers: [][]byte{a, b, c}})
	s.image("at-once", "2", recipe{layers: [][]byte{c, b, a}})
	s.fault(slowly)
	s.forget()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := newPlace(t, dir)
			if _, err := p.pull(client(t, "{}"), s.ref(fmt.Sprintf("at-once:%d", 1+i%2))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := newPlace(t, dir).sound(); n != 2 {
		t.Errorf("%d images", n)
	}
	for _, l := range [][]byte{a, b, c} {
		if got := s.requests("GET /v2/at-once/blobs/" + string(sum(packed(t, "gzip", l)))); len(got) != 1 {
			t.Errorf("fetched %v", got)
		}
	}
}

// TestPullAndRemove: an image that goes while another that shares its layers comes
// takes nothing of it along.
func TestPullAndRemove(t *testing.T) {
	s := newServer(t)
	a, b, c := layerTar(t, "a", 50_000), layerTar(t, "b", 50_000), layerTar(t, "c", 50_000)
	s.image("gone", "1", recipe{layers: [][]byte{a, b}})
	s.image("gone", "2", recipe{layers: [][]byte{a, b, c}})
	dir := t.TempDir()
	end := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			p, ref := newPlace(t, dir), s.ref(fmt.Sprintf("gone:%d", i+1))
			for time.Now().Before(end) {
				out, err := p.pull(client(t, "{}"), ref, func(o *PullOptions) { o.Unpack = nil })
				if err != nil {
					t.Error(err)
					return
				}
				p.sound0(out.ID)
				if _, err := p.store.Remove(context.Background(), out.ID, image.RemoveOptions{Force: true}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (p *place) sound0(id string) {
	img, err := p.store.Get(context.Background(), id, "")
	if err == nil {
		err = p.store.Verify(context.Background(), img)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// TestPullCancelled: what is interrupted ends at once and is gone on with.
func TestPullCancelled(t *testing.T) {
	s := newServer(t)
	s.image("stop", "1", recipe{layers: [][]byte{layerTar(t, "a", 1<<20)}})
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if isBlob(r) {
			next.ServeHTTP(&cutter{ResponseWriter: w, left: 500_000, stall: r.Context().Done()}, r)
		}
		return isBlob(r)
	})
	p := newPlace(t, "")
	c := client(t, "{}")
	c.stall = time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	_, err := c.Pull(ctx, p.store, s.ref("stop:1"), PullOptions{Unpack: p.snaps.Unpack, Report: func(e Event) {
		if e.Now > 100_000 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	s.fault(nil)
	out, err := p.pull(c, s.ref("stop:1"))
	p.whole(out, err)
	if len(s.requests("bytes=")) == 0 {
		t.Error("it was not gone on with")
	}
}

// TestDiskFull gives a pull less and less room: whatever it is in when the room
// ends, nothing is left, and with more room it succeeds.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts small filesystems")
	}
	s := newServer(t)
	s.image("full", "1", recipe{layers: [][]byte{layerTar(t, "a", 1<<20), layerTar(t, "b", 1<<20)}})
	worked, failed := 0, 0
	for kb := 16; kb < 6<<10; kb += 48 + kb/8 {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kb)); err != nil {
			t.Fatal(err)
		}
		func() {
			defer syscall.Unmount(dir, syscall.MNT_DETACH)
			p := newPlace(t, dir)
			if out, err := p.pull(client(t, "{}"), s.ref("full:1")); err == nil {
				worked++
				p.whole(out, nil)
				return
			} else if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%d kB: %v", kb, err)
			}
			failed++
			if _, err := os.Stat(dir + "/images/version"); err == nil {
				p.empty(true)
			}
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
			out, err := p.pull(client(t, "{}"), s.ref("full:1"))
			p.whole(out, err)
		}()
	}
	if worked == 0 || failed < 10 {
		t.Errorf("%d worked, %d failed: the sizes do not meet the stages", worked, failed)
	}
}

// TestRetriesEnd: an error of the server that does not pass is reported.
func TestRetriesEnd(t *testing.T) {
	s := newServer(t)
	n := 0
	s.fault(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		n++
		w.WriteHeader(503)
		return true
	})
	_, err := newPlace(t, "").pull(client(t, `{"max-download-attempts":3}`), s.ref("x:1"))
	if err == nil || n != 3 || strings.Contains(err.Error(), "\n") {
		t.Errorf("%d requests, %v", n, err)
	}
}
