package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"coracle/engine/logs"
)

// Query says which events are wanted.
type Query struct {
	// Since: also those of the past from then on; zero: only what comes.
	Since time.Time
	// Until: none after it, and the end; zero: no end.
	Until time.Time
	Match func(*Message) bool // nil: all
}

// Read hands each event that q wants to show, oldest first, until q.Until, the end
// of ctx or an error of show. It sleeps until the journal changes.
func (j *Journal) Read(ctx context.Context, q Query, show func(*Message) error) error {
	r := &reader{j: j, q: q, show: show}
	defer r.close()
	follow := q.Until.IsZero() || q.Until.After(time.Now())
	var changed <-chan struct{}
	var end <-chan time.Time
	if follow {
		// Watched before it is read, so that nothing falls between the two.
		_ = os.Mkdir(j.dir, 0o700)
		var stop func()
		changed, stop = logs.Watch(j.path())
		defer stop()
		if !q.Until.IsZero() {
			t := time.NewTimer(time.Until(q.Until))
			defer t.Stop()
			end = t.C
		}
	}
	if q.Since.IsZero() {
		r.q.Since = time.Now()
	}
	for {
		if err := r.all(); err != nil {
			return err
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			follow = false
		case <-changed:
		}
	}
}

// reader goes through the files in the order in which they were written.
type reader struct {
	j    *Journal
	q    Query
	show func(*Message) error
	f    *os.File
	rest []byte // of a line whose end has not come
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// all reads what there is.
func (r *reader) all() error {
	if r.f == nil {
		r.open(r.j.older())
	}
	for {
		if r.f != nil {
			if err := r.drain(); err != nil {
				return err
			}
			if same(r.f, r.j.path()) {
				return nil
			}
		}
		// The next file: the current one, or, where it was turned twice since,
		// the older one.
		next := r.j.path()
		if r.f != nil && !same(r.f, r.j.older()) {
			next = r.j.older()
		}
		was := r.f
		if !r.open(next) {
			return nil
		}
		if was != nil {
			was.Close()
		}
	}
}

func (r *reader) open(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	r.f, r.rest = f, nil
	return true
}

// drain reads r.f to its end.
func (r *reader) drain() error {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.f.Read(buf)
		r.rest = append(r.rest, buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(r.rest, []byte{'\n'})
			if !whole {
				break
			}
			r.rest = rest
			if err := r.line(line); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (r *reader) line(line []byte) error {
	var m Message
	if len(line) == 0 || json.Unmarshal(line, &m) != nil {
		return nil
	}
	at := time.Unix(0, m.TimeNano)
	if at.Before(r.q.Since) || !r.q.Until.IsZero() && at.After(r.q.Until) || r.q.Match != nil && !r.q.Match(&m) {
		return nil
	}
	return r.show(&m)
}
