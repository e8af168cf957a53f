// Package logs writes and reads containers' logs, in the format of Docker's
// json-file: one JSON object a line, {"log", "stream", "time"}; and passes them on
// to syslog and to the journal, keeping a copy that can be read.
//
// A log is bounded, where Docker's grows until the disk is full: five files of
// 20 MB unless told otherwise. And it never holds its container up: what a slow
// or full disk, or a server that is slow or gone, cannot take is dropped and
// counted.
package logs

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
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

// Writer writes one container's log, in a goroutine of its own.
type Writer struct {
	to       target
	patience time.Duration
	queue    chan chunk
	free     sync.Pool
	done     chan struct{}
	stalled  atomic.Bool
	dropped  atomic.Int64
	// room bounds the bytes that wait, where it is not 0.
	room    int64
	waiting atomic.Int64

	// Of the goroutine:
	pending [2][]byte // a line's beginning, by stream
	broken  error
}

// target is where lines go. It is used by one goroutine.
type target interface {
	// open is called before the first line, which may be long after.
	open()
	// line takes a line, with its newline if it has one; more of it follows
	// where it was too long.
	line(stream byte, at time.Time, p []byte, more bool)
	// flush writes what line only gathered. It returns how many bytes were lost
	// since the last time, and why the last of them.
	flush() (lost int64, err error)
	close()
}

type chunk struct {
	stream byte // 0 stdout, 1 stderr
	at     time.Time
	data   *[]byte
	n      int
}

// newWriter starts a writer. wait is how long a full queue holds the container
// up, once; room, where it is not 0, bounds the bytes in the queue.
func newWriter(to target, wait time.Duration, room int64) *Writer {
	size := queueLen
	if room > 0 {
		size = 4096
	}
	w := &Writer{to: to, patience: wait, room: room, queue: make(chan chunk, size), done: make(chan struct{})}
	w.free.New = func() any { b := make([]byte, maxChunk); return &b }
	go w.run()
	return w
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
	if w.room > 0 && w.waiting.Load()+int64(len(p)) > w.room {
		w.dropped.Add(int64(len(p)))
		return
	}
	data := w.buffer(len(p))
	c := chunk{stream, time.Now(), data, copy(*data, p)}
	w.waiting.Add(int64(c.n))
	select {
	case w.queue <- c:
		w.stalled.Store(false)
		return
	default:
	}
	if !w.stalled.Load() && w.patience > 0 {
		t := time.NewTimer(w.patience)
		defer t.Stop()
		select {
		case w.queue <- c:
			return
		case <-t.C:
			w.stalled.Store(true)
		}
	}
	w.waiting.Add(-int64(c.n))
	w.dropped.Add(int64(len(p)))
	w.release(data)
}

// buffer is room for n bytes: one of those that come back, but for a queue of
// bounded bytes, whose many short chunks would fill too many.
func (w *Writer) buffer(n int) *[]byte {
	if w.room == 0 {
		return w.free.Get().(*[]byte)
	}
	b := make([]byte, n)
	return &b
}

func (w *Writer) release(b *[]byte) {
	if w.room == 0 {
		w.free.Put(b)
	}
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
	w.to.open()
	for c := range w.queue {
		w.take(c)
		w.waiting.Add(-int64(c.n))
		if len(w.queue) == 0 {
			w.flush()
		}
	}
	for i, rest := range w.pending {
		if len(rest) > 0 {
			w.to.line(byte(i), time.Now(), rest, false)
		}
	}
	w.flush()
	w.to.close()
}

func (w *Writer) flush() {
	lost, err := w.to.flush()
	if err != nil {
		w.broken = err
	}
	w.dropped.Add(lost)
}

// take turns a chunk into lines.
func (w *Writer) take(c chunk) {
	defer w.release(c.data)
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
		w.to.line(c.stream, c.at, piece, piece[len(piece)-1] != '\n')
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
