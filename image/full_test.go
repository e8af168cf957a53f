package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullAtEachStage gives load and import less and less room: whatever they are in
// when it ends, the error says so, nothing is left, what was there stays whole, and
// with more room the same succeeds.
func TestFullAtEachStage(t *testing.T) {
	ctx := context.Background()
	noise := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	layer := tarOf(t, entry{name: "noise", body: string(noise)})
	docker := dockerArchive(t, []string{"x"}, layer, tree(t, "top"))
	l := &ociTar{t: t}
	oci := l.tar(l.image("amd64", string(layer), "application/vnd.oci.image.layer.v1.tar", nil))
	for name, do := range map[string]func(s *Store) error{
		"load": func(s *Store) error { _, err := s.Load(ctx, bytes.NewReader(docker), LoadOptions{}); return err },
		"load, gzip": func(s *Store) error {
			_, err := s.Load(ctx, bytes.NewReader(pack(t, "gzip", docker)), LoadOptions{})
			return err
		},
		"load, OCI": func(s *Store) error { _, err := s.Load(ctx, bytes.NewReader(oci), LoadOptions{}); return err },
		"import": func(s *Store) error {
			_, err := s.Import(ctx, bytes.NewReader(layer), ImportOptions{Ref: "x"})
			return err
		},
	} {
		worked, failed := 0, 0
		for kb := 48; kb < 1200; kb += 16 + kb/8 {
			dir := mountTmpfs(t, fmt.Sprintf("size=%dk", kb), 0)
			s, err := Open(filepath.Join(dir, "images"))
			if err != nil {
				t.Fatal(err)
			}
			small := tarOf(t, entry{name: "small", body: "small"})
			had := 0
			if _, err := s.Import(ctx, bytes.NewReader(small), ImportOptions{Ref: "small"}); err == nil {
				had = 1
			}
			err = do(s)
			switch {
			case err == nil:
				worked++
				if n := fsck(t, dir+"/images"); n != had+1 {
					t.Errorf("%s, %d kB: %d images", name, kb, n)
				}
				continue
			case !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrInvalid):
				t.Errorf("%s, %d kB: %v", name, kb, err)
			}
			failed++
			if n := fsck(t, dir+"/images"); n != had {
				t.Errorf("%s, %d kB: %d images, %d before", name, kb, n, had)
			}
			if had > 0 {
				clean(t, s)
			}
			if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
				t.Fatal(err)
			}
			if err := do(s); err != nil {
				t.Errorf("%s, %d kB, then more: %v", name, kb, err)
			}
			clean(t, s)
		}
		if worked == 0 || failed < 5 {
			t.Errorf("%s: %d worked, %d failed: the sizes do not meet the stages", name, worked, failed)
		}
	}
}

// TestSaveToFull: a file that has no room is an error, and the store is none the worse.
func TestSaveToFull(t *testing.T) {
	s := newStore(t)
	if _, err := s.Import(context.Background(), bytes.NewReader(tree(t, "x")), ImportOptions{Ref: "x"}); err != nil {
		t.Fatal(err)
	}
	for room := range 12 {
		err := s.Save(context.Background(), &roomy{room << 9}, []string{"x"}, SaveOptions{})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("room of %d bytes: %v", room<<9, err)
		}
	}
	fsck(t, s.dir)
	clean(t, s)
}

// TestSaveDirToFull: of a layout that does not fit nothing stays, and of one that was
// there before all does; on more room it is whole.
func TestSaveDirToFull(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	noise := make([]byte, 100<<10)
	for i, name := range []string{"one", "two"} {
		rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		if _, err := s.Import(ctx, bytes.NewReader(tarOf(t, entry{name: name, body: string(noise)})), ImportOptions{Ref: name}); err != nil {
			t.Fatal(err)
		}
	}
	dir := mountTmpfs(t, "size=140k", 0)
	to := filepath.Join(dir, "a", "b")
	if err := s.Save(ctx, nil, []string{"one", "two"}, SaveOptions{Dir: to}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("both: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := s.Save(ctx, nil, []string{"one"}, SaveOptions{Dir: to}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir(to + "/blobs/sha256")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx, nil, []string{"one", "two"}, SaveOptions{Dir: to}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("beside the first: %v", err)
	}
	if after, _ := os.ReadDir(to + "/blobs/sha256"); len(after) != len(before) {
		t.Errorf("%d blobs, %d before", len(after), len(before))
	}
	if got, err := newStore(t).Load(ctx, nil, LoadOptions{Dir: to}); err != nil || len(got) != 1 {
		t.Errorf("what was there: %+v, %v", got, err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx, nil, []string{"one", "two"}, SaveOptions{Dir: to}); err != nil {
		t.Fatal(err)
	}
	if got, err := newStore(t).Load(ctx, nil, LoadOptions{Dir: to}); err != nil || len(got) != 2 {
		t.Errorf("with room: %+v, %v", got, err)
	}
}

// roomy has room for so many bytes.
type roomy struct{ left int }

func (r *roomy) Write(b []byte) (int, error) {
	n := min(r.left, len(b))
	r.left -= n
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}
