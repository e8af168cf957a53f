package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func all(t *testing.T, path string, q Query) []Entry {
	t.Helper()
	var got []Entry
	if err := Read(context.Background(), path, q, func(e Entry) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "json.log")
	w, err := Open(path, Options{MaxSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	nasty := "tab\t quote\" back\\ bell\a é 世界 \x7f\u2028\n"
	fmt.Fprint(w.Stdout(), "one\ntw")
	fmt.Fprint(w.Stderr(), "other\n")
	fmt.Fprint(w.Stdout(), "o\n", nasty, strings.Repeat("x", maxLine+10), "\nno newline")
	if n, err := w.Close(); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	var out, errs strings.Builder
	for _, e := range all(t, path, Query{Tail: -1}) {
		if e.Time.IsZero() {
			t.Error("no time")
		}
		if e.Stream == "stdout" {
			out.WriteString(e.Log)
		} else {
			errs.WriteString(e.Log)
		}
	}
	if want := "one\ntwo\n" + nasty + strings.Repeat("x", maxLine+10) + "\nno newline"; out.String() != want {
		t.Errorf("%q", out.String())
	}
	if errs.String() != "other\n" {
		t.Errorf("%q", errs.String())
	}
	for n, first := range map[int]string{1: "no newline", 2: "xxxxxxxxxx\n", 0: ""} {
		got := all(t, path, Query{Tail: n})
		if len(got) != n || n > 0 && got[0].Log != first {
			t.Errorf("tail %d: %d entries", n, len(got))
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add([]byte("a\x00\xff\"\\\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		line := append(appendEscaped([]byte(`{"log":"`), p), `"}`...)
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if want := strings.ToValidUTF8(string(p), ""); !strings.Contains(string(p), "\ufffd") && strings.ReplaceAll(e.Log, "\ufffd", "") != want {
			t.Fatalf("%q, want %q", e.Log, want)
		}
	})
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "json.log")
	w, err := Open(path, Options{MaxSize: 8 << 10, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		fmt.Fprintf(w.Stdout(), "line %d\n", i)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	w.Close()
	files, _ := filepath.Glob(path + "*")
	if len(files) != 3 {
		t.Errorf("%v", files)
	}
	var total int64
	for _, f := range files {
		st, _ := os.Stat(f)
		total += st.Size()
	}
	if total > 3*(8<<10)+(80<<10) {
		t.Errorf("%d bytes", total)
	}
	got := all(t, path, Query{Tail: -1})
	if last := got[len(got)-1].Log; last != "line 1999\n" {
		t.Errorf("%q", last)
	}
	for i := 1; i < len(got); i++ {
		var a, b int
		fmt.Sscanf(got[i-1].Log+got[i].Log, "line %d\nline %d\n", &a, &b)
		if b != a+1 {
			t.Fatalf("%q follows %q", got[i].Log, got[i-1].Log)
		}
	}
}

// TestFollow: a follower sees every line once, across rotations.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "json.log")
	w, err := Open(path, Options{MaxSize: 64 << 10, MaxFiles: 5})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var got []string
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		err := Read(context.Background(), path, Query{Tail: -1, Follow: true, End: end}, func(e Entry) error { got = append(got, e.Log); return nil })
		if err != nil {
			t.Error(err)
		}
	}()
	const lines = 3000
	for i := range lines {
		fmt.Fprintf(w.Stdout(), "%d\n", i)
		if rand.IntN(40) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	w.Close()
	close(end)
	wg.Wait()
	if len(got) != lines {
		t.Fatalf("%d lines, want %d", len(got), lines)
	}
	for i, s := range got {
		if s != fmt.Sprintf("%d\n", i) {
			t.Fatalf("line %d is %q", i, s)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := Read(ctx, path, Query{Tail: 0, Follow: true}, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestFullDisk: the writer of the log is not held up, and nothing half is left.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("needs tmpfs: " + err.Error())
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "json.log")
	w, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("y"), 999)
	for range 1000 {
		w.Stdout().Write(append(line, '\n'))
	}
	n, err := w.Close()
	if n == 0 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("dropped %d: %v", n, err)
	}
	data, _ := os.ReadFile(path)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		t.Error("half a line is left")
	}
}

func TestOptions(t *testing.T) {
	o, err := ParseOptions("json-file", map[string]string{"max-size": "10m", "max-file": "3"})
	if err != nil || o.MaxSize != 10<<20 || o.MaxFiles != 3 {
		t.Error(o, err)
	}
	for _, bad := range []map[string]string{{"max-size": "x"}, {"max-file": "0"}, {"foo": "1"}} {
		if _, err := ParseOptions("json-file", bad); err == nil {
			t.Errorf("%v accepted", bad)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	w, err := Open(filepath.Join(b.TempDir(), "json.log"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	p := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"), 512)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		w.Stdout().Write(p)
	}
	w.Close()
}
