package codec

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"
)

type closer struct {
	io.Reader
	closed chan struct{}
}

func (c *closer) Close() error { close(c.closed); return nil }

func TestAhead(t *testing.T) {
	want := make([]byte, 3*aheadBuffers*aheadSize+12345)
	rand.NewChaCha8([32]byte{}).Read(want)
	broken := errors.New("broken")
	for name, r := range map[string]io.Reader{
		"plain": bytes.NewReader(want), "halves": iotest.HalfReader(bytes.NewReader(want)), "error with data": iotest.DataErrReader(bytes.NewReader(want)),
		"empty": bytes.NewReader(nil), "an error at the end": io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken)),
	} {
		c := &closer{r, make(chan struct{})}
		a := Ahead(c)
		got, err := io.ReadAll(a)
		if err2 := a.Close(); err2 != nil {
			t.Error(err2)
		}
		<-c.closed
		switch name {
		case "empty":
			if len(got) != 0 || err != nil {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		case "an error at the end":
			if !bytes.Equal(got, want) || !errors.Is(err, broken) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		default:
			if !bytes.Equal(got, want) || err != nil {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// waiting blocks in Read until it is closed.
type waiting struct{ closed chan struct{} }

func (w waiting) Read([]byte) (int, error) { <-w.closed; return 0, io.ErrClosedPipe }
func (w waiting) Close() error             { close(w.closed); return nil }

// TestAheadCloses: the goroutine has ended when Close returns, whatever it is in.
func TestAheadCloses(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		Ahead(waiting{make(chan struct{})}).Close()
		c := &closer{bytes.NewReader(make([]byte, 1<<24)), make(chan struct{})}
		a := Ahead(c) // full, and nobody reads
		time.Sleep(10 * time.Millisecond)
		a.Close()
		a.Close()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
}
