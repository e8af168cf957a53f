package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"time"
)

// Entry is one line of a log.
type Entry struct {
	Log    string    `json:"log"` // with its newline, if it has one
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
	// Attrs are the labels and variables that go with it.
	Attrs map[string]string `json:"attrs"`
}

// Query says what to read.
type Query struct {
	Tail         int       // the last n entries; negative: all
	Since, Until time.Time // zero: unbounded
	// Follow goes on until End is closed, and what was written by then is read.
	Follow bool
	End    <-chan struct{}
}

// Read calls out for each entry that q asks for, oldest first. A log that was
// never written is empty.
func Read(ctx context.Context, path string, q Query, out func(Entry) error) error {
	r := &reader{path: path, q: q, out: out}
	defer r.close()
	if q.Follow {
		// Before the first read, so that nothing is missed in between.
		r.watch = newWatch(path)
		defer r.watch.close()
	}
	if err := r.begin(); err != nil {
		return err
	}
	for {
		if err := r.drain(ctx); err != nil {
			if errors.Is(err, errUntil) {
				return nil
			}
			return err
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.End:
			q.Follow = false // once more: the last lines
		case <-r.watch.changed:
		}
	}
}

var errUntil = errors.New("past the end of what was asked for")

type reader struct {
	path  string
	q     Query
	out   func(Entry) error
	watch *watch
	f     *os.File
	id    string // which file f was, if that is compressed
	line  []byte // of f, so far without its newline
	buf   []byte
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
	}
}

func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// gaps is how many names in a row may be missing before the last file: the
// writer renames one after the other, and a name is free in between.
const gaps = 3

// generations is how many files there are.
func generations(path string) int {
	n := 0
	for i := 0; i < n+gaps; i++ {
		if exists(rotated(path, i)) {
			n = i + 1
		}
	}
	return n
}

// begin opens the file in which reading starts, at the place where it does.
func (r *reader) begin() error {
	n := generations(r.path)
	if r.q.Tail < 0 {
		return r.open(n - 1)
	}
	want := r.q.Tail
	for i := 0; i < n; i++ {
		f, id, err := openLog(rotated(r.path, i))
		if errors.Is(err, os.ErrNotExist) {
			continue // just being renamed
		}
		if err != nil {
			return err
		}
		at, found, err := lastLines(f, want)
		if err != nil {
			f.Close()
			return err
		}
		want -= found
		if want <= 0 || i == n-1 {
			_, err = f.Seek(at, io.SeekStart)
			r.f, r.id = f, id
			return err
		}
		f.Close()
	}
	return nil
}

// lastLines finds where the last n lines of f begin, and how many there are.
func lastLines(f *os.File, n int) (at int64, found int, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return end, 0, err
	}
	buf := make([]byte, 64<<10)
	for pos := end; pos > 0; {
		size := min(int64(len(buf)), pos)
		pos -= size
		if _, err := f.ReadAt(buf[:size], pos); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		for i := size - 1; i >= 0; i-- {
			if buf[i] != '\n' || pos+i == end-1 {
				continue
			}
			if found++; found == n {
				return pos + i + 1, found, nil
			}
		}
	}
	if end > 0 {
		found++
	}
	return 0, found, nil
}

func (r *reader) open(generation int) error {
	r.close()
	r.f, r.line = nil, r.line[:0]
	if generation < 0 {
		return nil
	}
	f, id, err := openLog(rotated(r.path, generation))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	r.f, r.id = f, id
	return err
}

// drain reads all there is, the later files included.
func (r *reader) drain(ctx context.Context) error {
	for {
		if r.f == nil {
			if err := r.open(generations(r.path) - 1); err != nil || r.f == nil {
				return err
			}
		}
		// Where the file is now, before its end is seen: what is written to it
		// later is written before it is followed by another.
		gen := r.generation()
		if err := r.lines(ctx); err != nil {
			return err
		}
		if gen == 0 {
			return nil
		}
		if more, err := r.next(ctx); err != nil || !more {
			return err
		}
	}
}

// next goes on to the file that follows the open one, which is complete; false
// where the writer has not made it yet. The writer may rename them all at any
// moment, so a file is the next one only if the open one kept its place
// meanwhile.
func (r *reader) next(ctx context.Context) (bool, error) {
	for ctx.Err() == nil {
		gen := r.generation()
		if gen == 0 {
			return false, nil
		}
		if gen < 0 { // it was deleted: go on with the oldest
			return true, r.open(generations(r.path) - 1)
		}
		f, id, err := openLog(rotated(r.path, gen-1))
		if errors.Is(err, os.ErrNotExist) {
			if gen == 1 {
				return false, nil
			}
			continue
		}
		if err != nil {
			return false, err
		}
		if r.generation() == gen {
			r.f.Close()
			r.f, r.id, r.line = f, id, r.line[:0]
			return true, nil
		}
		f.Close()
	}
	return false, ctx.Err()
}

// generation is the number of the file that is open; -1 when it has no name any
// more.
func (r *reader) generation() int {
	for i, missing := 0, 0; missing < gaps; i++ {
		path := rotated(r.path, i)
		if isAt(path, r.f, r.id) {
			return i
		}
		if exists(path) {
			missing = 0
		} else {
			missing++
		}
	}
	return -1
}

func (r *reader) lines(ctx context.Context) error {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.f.Read(r.buf)
		p := r.buf[:n]
		for {
			i := bytes.IndexByte(p, '\n')
			if i < 0 {
				break
			}
			r.line = append(r.line, p[:i]...)
			p = p[i+1:]
			err := r.entry(r.line)
			r.line = r.line[:0]
			if err != nil {
				return err
			}
		}
		r.line = append(r.line, p...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *reader) entry(line []byte) error {
	var e Entry
	if json.Unmarshal(line, &e) != nil {
		return nil // torn by a power cut
	}
	if !r.q.Since.IsZero() && e.Time.Before(r.q.Since) {
		return nil
	}
	if !r.q.Until.IsZero() && e.Time.After(r.q.Until) {
		return errUntil
	}
	return r.out(e)
}
