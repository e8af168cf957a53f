package shelf

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func put(t *testing.T, s *Shelf, name string) {
	t.Helper()
	ctx := context.Background()
	l, err := s.Lock(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	dir, err := s.Begin(ctx, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteNote(dir, Note{Chain: name}); err != nil {
		t.Fatal(err)
	}
	if s.Has(name) {
		t.Error("there before it was committed")
	}
	if err := s.Commit(l); err != nil {
		t.Fatal(err)
	}
}

func TestLifecycle(t *testing.T) {
	s := New(filepath.Join(t.TempDir(), "shelf"))
	if names, err := s.Names(); len(names) > 0 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	put(t, s, "a")
	put(t, s, "b")
	if names, err := s.Names(); len(names) != 2 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	l, err := s.Lock(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Delete(context.Background(), l); err != nil {
			t.Error(err)
		}
	}
	l.Unlock()
	if s.Has("a") || !s.Has("b") {
		t.Error("deleted the wrong one")
	}
	if left, _ := os.ReadDir(s.Dir() + "/lock"); len(left) > 0 {
		t.Errorf("locks left: %v", left)
	}
}

func TestLocksExclude(t *testing.T) {
	s := New(t.TempDir())
	var in, shared atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 20 {
				if i%4 == 0 {
					l, err := s.Lock(context.Background(), "x")
					if err != nil {
						t.Error(err)
						return
					}
					if in.Add(1) != 1 || shared.Load() != 0 {
						t.Error("two at once")
					}
					in.Add(-1)
					l.Unlock()
					continue
				}
				l, err := s.Share(context.Background(), "x")
				if err != nil {
					t.Error(err)
					return
				}
				shared.Add(1)
				if in.Load() != 0 {
					t.Error("shared with an exclusive holder")
				}
				shared.Add(-1)
				l.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestLockGivesUp(t *testing.T) {
	s := New(t.TempDir())
	l, err := s.Lock(context.Background(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Share(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCleanSparesWhatIsHeld(t *testing.T) {
	s := New(t.TempDir())
	ctx := context.Background()
	held, err := s.Lock(ctx, "held")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Unlock()
	dir, err := s.Begin(ctx, held)
	if err != nil {
		t.Fatal(err)
	}
	left, err := s.Lock(ctx, "left")
	if err != nil {
		t.Fatal(err)
	}
	stale, err := s.Begin(ctx, left)
	if err != nil {
		t.Fatal(err)
	}
	left.Unlock()
	if err := s.Clean(ctx); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("removed what is being made: %v", err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left what nobody makes: %v", err)
	}
}

func TestNotes(t *testing.T) {
	s := New(t.TempDir())
	put(t, s, "a")
	if n, err := s.ReadNote("a"); err != nil || n.Chain != "a" || n.Version != noteVersion {
		t.Errorf("%+v, %v", n, err)
	}
	path := s.Path("a") + "/" + noteFile
	if err := os.WriteFile(path, []byte(`{"version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadNote("a"); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestKey(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	if k := Key("sha256:" + hex); k != hex[:20] {
		t.Errorf("got %s", k)
	}
	for _, odd := range []string{"", "x", "sha256:../../../../../../../../../../../..", "sha256:" + strings.ToUpper(hex)} {
		if err := Check(Key(odd)); err != nil || len(Key(odd)) != 20 {
			t.Errorf("%q: %s, %v", odd, Key(odd), err)
		}
	}
	if Key("sha256:"+hex) == Key("sha256:"+strings.ToUpper(hex)) {
		t.Error("two digests, one key")
	}
}
