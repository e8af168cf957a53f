package stream

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slow gives its data a byte a read.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) { return s.r.Read(p[:1]) }

func TestDetacher(t *testing.T) {
	keys := []byte{16, 17}
	for in, want := range map[string]string{
		"abc": "abc", "a\x10b": "a\x10b", "a\x10\x11b": "a", "\x10\x10\x11": "\x10", "end\x10": "end\x10", "\x11\x10": "\x11\x10",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "by bytes": slow{strings.NewReader(in)}} {
			out, err := io.ReadAll(&Detacher{R: r, Keys: keys})
			left := errors.As(err, &ErrDetached{})
			if string(out) != want || left != strings.Contains(in, string(keys)) {
				t.Errorf("%q %s: %q, %v", in, name, out, err)
			}
		}
	}
}

func TestPumpWaitsForAll(t *testing.T) {
	var out bytes.Buffer
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Add(&Sink{Stdout: &out})
	_, w, e := p.Child()
	w2, e2 := dup(t, w), dup(t, e)
	p.Started(nil)
	data := bytes.Repeat([]byte("x"), 3<<20)
	go func() {
		w2.Write(data)
		w2.Close()
		e2.Close()
	}()
	p.Finish(time.Second)
	if out.Len() != len(data) {
		t.Errorf("%d bytes", out.Len())
	}
}

// TestStranger: a pipe that someone holds for ever does not hold up the end.
func TestStranger(t *testing.T) {
	var out bytes.Buffer
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Add(&Sink{Stdout: &out})
	_, w, _ := p.Child()
	held := dup(t, w)
	defer held.Close()
	p.Started(nil)
	held.Write([]byte("last words"))
	begin := time.Now()
	p.Finish(100 * time.Millisecond)
	if d := time.Since(begin); d > 2*time.Second || out.String() != "last words" {
		t.Errorf("%v %q", d, out.String())
	}
}

func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// TestServer: output, stdin, a signal and the exit code, through a directory
// whose path is too long for a socket's address.
func TestServer(t *testing.T) {
	dir := t.TempDir() + "/" + strings.Repeat("long", 40)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	in, out, errs := p.Child()
	in, out, errs = dup(t, in), dup(t, out), dup(t, errs)
	p.Started(nil)
	signals := make(chan syscall.Signal, 1)
	s, err := Serve(dir, p, owner(signals))
	if err != nil {
		t.Fatal(err)
	}
	waiter, err := Dial(dir, Request{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := Dial(dir, Request{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Write([]byte("question\n"))
	buf := make([]byte, 100)
	n, _ := in.Read(buf)
	if string(buf[:n]) != "question\n" {
		t.Errorf("%q", buf[:n])
	}
	c.Signal(syscall.SIGHUP)
	if sig := <-signals; sig != syscall.SIGHUP {
		t.Error(sig)
	}
	big := bytes.Repeat([]byte("answer\n"), 300000)
	go func() {
		errs.Write([]byte("wrong\n"))
		out.Write(big)
		out.Close()
		errs.Close()
		p.Finish(time.Second)
		s.Close(42)
	}()
	var o, e bytes.Buffer
	code, ok, err := c.Listen(&o, &e)
	if code != 42 || !ok || err != nil || !bytes.Equal(o.Bytes(), big) || e.String() != "wrong\n" {
		t.Errorf("%d %v %v, %d bytes, %q", code, ok, err, o.Len(), e.String())
	}
	if code, ok, _ := waiter.Listen(nil, nil); code != 42 || !ok {
		t.Errorf("waiter: %d %v", code, ok)
	}
	if _, err := Dial(dir, Request{}); err == nil {
		t.Error("it still listens")
	}
}

// TestFinishLate: what was written before the end arrives, also when a stranger
// holds the pipe and the pump had no time to read until its grace was over.
func TestFinishLate(t *testing.T) {
	for range 200 {
		p, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		p.Add(&Sink{Stdout: &out})
		_, stdout, _ := p.Child()
		fd, err := unix.FcntlInt(stdout.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		stranger := os.NewFile(uintptr(fd), "stranger")
		stdout.WriteString("last words\n")
		p.Started(nil)
		p.Finish(time.Nanosecond)
		stranger.Close()
		if out.String() != "last words\n" {
			t.Fatalf("%q", out.String())
		}
	}
}

// TestFinishOfAStarvedCopy: what has come is read, however late the copy gets to
// it, although somebody holds the pipe.
func TestFinishOfAStarvedCopy(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const grace = 20 * time.Millisecond
	p := &Pump{}
	p.outs[0] = r
	var got []byte
	p.copies.Go(func() {
		time.Sleep(5 * grace)
		for {
			buf := make([]byte, 16)
			n, err := r.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				return
			}
		}
	})
	io.WriteString(w, "late")
	p.Finish(grace)
	if string(got) != "late" {
		t.Errorf("%q was read", got)
	}
}

// owner is a monitor that takes signals and answers orders by their name.
type owner chan syscall.Signal

func (o owner) Signal(sig syscall.Signal) error {
	o <- sig
	return nil
}

func (o owner) Do(order Order) Answer { return Answer{Err: order.Do} }
