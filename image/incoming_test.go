package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// received is a layer of tar with its blob.
func received(t *testing.T) (Layer, []byte) {
	b := tree(t, "incoming")
	return Layer{Digest: digestOf(b), Size: int64(len(b)), DiffID: digestOf(b), MediaType: "application/vnd.oci.image.layer.v1.tar"}, b
}

// TestPartFollowed: who reads a blob that is being received gets what has come, and
// its end only when the digest was right.
func TestPartFollowed(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	for name, c := range map[string]struct {
		spoil func(b []byte)
		want  error
	}{"right": {func([]byte) {}, nil}, "wrong": {func(b []byte) { b[700] ^= 1 }, ErrInvalid}} {
		in, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		l, b := received(t)
		b = bytes.Clone(b)
		c.spoil(b)
		parts, err := in.Parts(ctx, []Layer{l, l})
		if err != nil {
			t.Fatal(err)
		}
		p := parts[l.Digest]
		got := make(chan error, 1)
		f, err := p.Follow(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := io.Copy(io.Discard, f)
			got <- err
		}()
		if _, err := p.Write(b[:1000]); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(b[1000:]); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-got:
			t.Errorf("%s: ended before the check: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := p.Write([]byte{0}); !errors.Is(err, ErrInvalid) {
			t.Errorf("one byte more: %v", err)
		}
		err = p.Finish()
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-got; (c.want == nil) != (err == nil) {
			t.Errorf("%s: the reader got %v", name, err)
		}
		f.Close()
		in.Close()
	}
}

// TestRemovePartials spares what is young and what is being received.
func TestRemovePartials(t *testing.T) {
	s := newStore(t)
	in, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	l, b := received(t)
	parts, err := in.Parts(context.Background(), []Layer{l})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts[l.Digest].Write(b[:100]); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * partialAge)
	for name, when := range map[string]time.Time{"young": time.Now(), "old": old} {
		at := s.path(partialDir, name)
		if err := os.WriteFile(at, make([]byte, 77), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(at, when, when)
	}
	os.Chtimes(parts[l.Digest].path, old, old)
	if n, err := s.RemovePartials(partialAge); n != 77 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := os.Stat(s.path(partialDir, "young")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(parts[l.Digest].path); err != nil {
		t.Error(err)
	}
	if n, err := s.RemovePartials(0); n != 77 || err != nil {
		t.Errorf("all: %d, %v", n, err)
	}
}
