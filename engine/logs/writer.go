// Package logs writes and reads containers' logs, in the format of Docker's
// json-file: one JSON object a line, {"log", "stream", "time"}.
//
// A log is bounded, where Docker's grows until the disk is full: five files of
// 20 MB unless told otherwise. And it never holds its container up: what a slow
// or full disk cannot take is dropped and counted.
package logs

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/go-units"
)

// The defaults.
const (
	DefaultSize  = 20 << 20 // bytes a file
	DefaultFiles = 5
)

const (
	maxLine  = 16 << 10 // longer lines are split, as by Docker
	queueLen = 64       // chunks that wait to be written
	maxChunk = 32 << 10
	patience = time.Second // how long a full queue holds the container up, once
)

// Options bound a log.
type Options struct {
	MaxSize  int64 // bytes a file
	MaxFiles int
}

// ParseOptions reads max-size and max-file as Docker's json-file does.
func ParseOptions(m map[string]string) (Options, error) {
	o := Options{DefaultSize, DefaultFiles}
	for key, v := range m {
		switch key {
		case "max-size":
			n, err := units.RAMInBytes(v)
			if err != nil || n == 0 || n < -1 {
				return o, fmt.Errorf("invalid value for log-opt max-size: %q", v)
			}
			o.MaxSize = n
		case "max-file":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return o, fmt.Errorf("max-file cannot be less than 1: %q", v)
			}
			o.MaxFiles = n
		case "mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag", "compress":
		default:
			return o, fmt.Errorf("unknown log opt '%s' for json-file log driver", key)
		}
	}
	return o, nil
}

// Writer writes one container's log, in a goroutine of its own.
type Writer struct {
	path    string
	opt     Options
	queue   chan chunk
	free    sync.Pool
	done    chan struct{}
	stalled atomic.Bool
	dropped atomic.Int64

	// Of the goroutine:
	f       *os.File
	size    int64
	out     []byte
	pending [2][]byte // a line's beginning, by stream
	broken  error
}

type chunk struct {
	stream byte // 0 stdout, 1 stderr
	at     time.Time
	data   *[]byte
	n      int
}

// Open opens the log at path to append to it.
func Open(path string, opt Options) (*Writer, error) {
	if opt.MaxSize == 0 {
		opt.MaxSize = DefaultSize
	}
	if opt.MaxFiles == 0 {
		opt.MaxFiles = DefaultFiles
	}
	w := &Writer{path: path, opt: opt, queue: make(chan chunk, queueLen), done: make(chan struct{})}
	w.free.New = func() any { b := make([]byte, maxChunk); return &b }
	if err := w.open(); err != nil {
		return nil, err
	}
	go w.run()
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	w.f, w.size = f, st.Size()
	return nil
}

// Stdout and Stderr are where the container's output goes. Write never fails.
func (w *Writer) Stdout() io.Writer { return stream{w, 0} }

// Stderr is the other of the two.
func (w *Writer) Stderr() io.Writer { return stream{w, 1} }

type stream struct {
	w *Writer
	n byte
}

func (s stream) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		n := min(len(p), maxChunk)
		s.w.put(s.n, p[:n])
		p = p[n:]
	}
	return all, nil
}

// put queues a copy of p. A queue that is full holds the container up while the
// log makes progress; when it has made none for some time, output is dropped
// until it does.
func (w *Writer) put(stream byte, p []byte) {
	data := w.free.Get().(*[]byte)
	c := chunk{stream, time.Now(), data, copy(*data, p)}
	select {
	case w.queue <- c:
		w.stalled.Store(false)
		return
	default:
	}
	if !w.stalled.Load() {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case w.queue <- c:
			return
		case <-t.C:
			w.stalled.Store(true)
		}
	}
	w.dropped.Add(int64(len(p)))
	w.free.Put(data)
}

// Close writes what is queued and returns how many bytes were dropped, and why
// the last of them. It waits no longer than patience for a log that is stuck.
func (w *Writer) Close() (dropped int64, err error) {
	close(w.queue)
	for last := -1; ; {
		t := time.NewTimer(5 * patience)
		select {
		case <-w.done:
			t.Stop()
			return w.dropped.Load(), w.broken
		case <-t.C:
			if n := len(w.queue); n != last {
				last = n
				continue
			}
			return w.dropped.Load(), os.ErrDeadlineExceeded
		}
	}
}

func (w *Writer) run() {
	defer close(w.done)
	for c := range w.queue {
		w.take(c)
		if len(w.queue) == 0 || len(w.out) >= 64<<10 {
			w.flush()
		}
	}
	for i, rest := range w.pending {
		if len(rest) > 0 {
			w.line(byte(i), time.Now(), rest)
		}
	}
	w.flush()
	if w.f != nil {
		w.f.Close()
	}
}

// take turns a chunk into lines.
func (w *Writer) take(c chunk) {
	defer w.free.Put(c.data)
	p := (*c.data)[:c.n]
	for len(p) > 0 {
		n, whole := lineEnd(p, maxLine-len(w.pending[c.stream]))
		piece := p[:n]
		p = p[n:]
		if pend := w.pending[c.stream]; len(pend) > 0 || !whole {
			w.pending[c.stream] = append(pend, piece...)
			piece = w.pending[c.stream]
			if !whole {
				continue
			}
			w.pending[c.stream] = piece[:0]
		}
		w.line(c.stream, c.at, piece)
	}
}

// lineEnd is how much of p belongs to the line, and whether that ends it.
func lineEnd(p []byte, room int) (n int, whole bool) {
	for i, b := range p[:min(len(p), room)] {
		if b == '\n' {
			return i + 1, true
		}
	}
	if len(p) >= room {
		return room, true
	}
	return len(p), false
}

func (w *Writer) line(stream byte, at time.Time, p []byte) {
	w.out = append(w.out, `{"log":"`...)
	w.out = appendEscaped(w.out, p)
	if stream == 0 {
		w.out = append(w.out, `","stream":"stdout","time":"`...)
	} else {
		w.out = append(w.out, `","stream":"stderr","time":"`...)
	}
	w.out = at.UTC().AppendFormat(w.out, time.RFC3339Nano)
	w.out = append(w.out, '"', '}', '\n')
}

// flush writes what was gathered, whole lines all of it, or drops it.
func (w *Writer) flush() {
	if len(w.out) == 0 {
		return
	}
	err := w.rotate()
	if err == nil {
		var n int
		if n, err = w.f.Write(w.out); err == nil {
			w.size += int64(n)
		} else if n > 0 {
			w.f.Truncate(w.size) // no half lines
		}
	}
	if err != nil {
		w.dropped.Add(int64(len(w.out)))
		w.broken = err
	}
	if cap(w.out) > 256<<10 {
		w.out = nil
	}
	w.out = w.out[:0]
}

func (w *Writer) rotate() error {
	if w.f == nil {
		return w.open()
	}
	if w.opt.MaxSize < 0 || w.size == 0 || w.size+int64(len(w.out)) <= w.opt.MaxSize {
		return nil
	}
	if w.opt.MaxFiles > 1 {
		for i := w.opt.MaxFiles - 1; i > 1; i-- {
			os.Rename(w.path+"."+strconv.Itoa(i-1), w.path+"."+strconv.Itoa(i))
		}
		if err := os.Rename(w.path, w.path+".1"); err != nil {
			return err
		}
	} else if err := os.Remove(w.path); err != nil {
		return err
	}
	w.f.Close()
	w.f = nil
	return w.open()
}
