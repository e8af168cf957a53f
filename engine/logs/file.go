package logs

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Options bound a log that is kept in files.
type Options struct {
	MaxSize  int64 // bytes a file
	MaxFiles int
	// Compress compresses the files that are neither written to any more nor the
	// last of those.
	Compress bool
	// Attrs go with each line.
	Attrs map[string]string
	// NonBlocking never holds the container up, and Buffer bounds, in bytes, what
	// then waits to be written.
	NonBlocking bool
	Buffer      int64
}

// wait and room are the writer's.
func (o Options) wait() (time.Duration, int64) {
	if o.NonBlocking {
		return 0, o.Buffer
	}
	return patience, 0
}

// Open opens the log at path to append to it.
func Open(path string, opt Options) (*Writer, error) {
	if opt.MaxSize == 0 {
		opt.MaxSize = DefaultSize
	}
	if opt.MaxFiles == 0 {
		opt.MaxFiles = DefaultFiles
	}
	f := &file{path: path, opt: opt}
	if len(opt.Attrs) > 0 {
		attrs, err := json.Marshal(opt.Attrs)
		if err != nil {
			return nil, err
		}
		f.attrs = append(append([]byte(`"attrs":`), attrs...), ',')
	}
	if err := f.reopen(); err != nil {
		return nil, err
	}
	wait, room := opt.wait()
	return newWriter(f, wait, room), nil
}

// file is a log in files.
type file struct {
	path  string
	opt   Options
	attrs []byte
	f     *os.File
	size  int64
	out   []byte
	lost  int64
	err   error
}

var _ target = (*file)(nil)

func (w *file) reopen() error {
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

func (w *file) open() {}

func (w *file) close() {
	if w.f != nil {
		w.f.Close()
	}
}

func (w *file) line(stream byte, at time.Time, p []byte, _ bool) {
	w.out = append(w.out, `{"log":"`...)
	w.out = appendEscaped(w.out, p)
	if stream == 0 {
		w.out = append(w.out, `","stream":"stdout",`...)
	} else {
		w.out = append(w.out, `","stream":"stderr",`...)
	}
	w.out = append(append(w.out, w.attrs...), `"time":"`...)
	w.out = at.UTC().AppendFormat(w.out, time.RFC3339Nano)
	w.out = append(w.out, '"', '}', '\n')
	if len(w.out) >= 64<<10 {
		w.write()
	}
}

func (w *file) flush() (int64, error) {
	w.write()
	lost, err := w.lost, w.err
	w.lost, w.err = 0, nil
	return lost, err
}

// write writes what was gathered, whole lines all of it, or drops it.
func (w *file) write() {
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
		w.lost += int64(len(w.out))
		w.err = err
	}
	if cap(w.out) > 256<<10 {
		w.out = nil
	}
	w.out = w.out[:0]
}

func (w *file) rotate() error {
	if w.f == nil {
		return w.reopen()
	}
	if w.opt.MaxSize < 0 || w.size == 0 || w.size+int64(len(w.out)) <= w.opt.MaxSize {
		return nil
	}
	if w.opt.MaxFiles > 1 {
		for i := w.opt.MaxFiles - 1; i > 1; i-- {
			w.shift(i)
		}
		if err := os.Rename(w.path, w.path+".1"); err != nil {
			return err
		}
	} else if err := os.Remove(w.path); err != nil {
		return err
	}
	w.f.Close()
	w.f = nil
	return w.reopen()
}

// shift makes file i of file i-1, in the place of the old one.
func (w *file) shift(i int) {
	from, to := rotated(w.path, i-1), rotated(w.path, i)
	switch {
	case os.Rename(from+zipped, to+zipped) == nil:
		os.Remove(to)
	case w.opt.Compress && i == 2:
		// The first of the old ones stays as it is: who follows reads it now.
		if compress(from, to+zipped) == nil {
			os.Remove(from)
			os.Remove(to)
		}
	default:
		if os.Rename(from, to) == nil {
			os.Remove(to + zipped)
		}
	}
}

// zipped is the end of a compressed file's name.
const zipped = ".gz"

// compress writes aside and renames. The comment says which file it was, for
// readers who have that one open.
func compress(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	aside := to + ".tmp"
	out, err := os.OpenFile(aside, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	z.Comment = identity(st)
	_, err = io.Copy(z, in)
	for _, end := range []func() error{z.Close, out.Close} {
		if e := end(); err == nil {
			err = e
		}
	}
	if err == nil {
		err = os.Rename(aside, to)
	}
	if err != nil {
		os.Remove(aside)
	}
	return err
}

// identity names a file that is complete, whatever it is called: its number is
// another's when it is gone, so the time of its last line belongs to it.
func identity(st os.FileInfo) string {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%x:%x:%d", sys.Dev, sys.Ino, st.ModTime().UnixNano())
}

// unzipped is the content of a compressed file in a nameless one, and which file
// it was.
func unzipped(path string) (*os.File, string, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, "", err
	}
	out, err := os.CreateTemp("", "coracle-log-")
	if err != nil {
		return nil, "", err
	}
	os.Remove(out.Name())
	_, err = io.Copy(out, z)
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		out.Close()
		return nil, "", err
	}
	return out, z.Comment, nil
}

// openLog opens one file of a log; of a compressed one id is the identity of the
// file that it was.
func openLog(path string) (f *os.File, id string, err error) {
	if f, err = os.Open(path); err == nil {
		return f, "", nil
	}
	if f, id, e := unzipped(path + zipped); e == nil {
		return f, id, nil
	}
	return nil, "", err
}

// exists tells whether there is a file of a log, compressed or not.
func exists(path string) bool {
	if _, err := os.Stat(path); err == nil {
		return true
	}
	_, err := os.Stat(path + zipped)
	return err == nil
}

// isAt tells whether the file f, compressed where id says which it was, is the one
// of the log that is at path.
func isAt(path string, f *os.File, id string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	if st, err := os.Stat(path); err == nil {
		return id == "" && os.SameFile(st, mine)
	}
	in, err := os.Open(path + zipped)
	if err != nil {
		return false
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return false
	}
	if id == "" {
		id = identity(mine)
	}
	return z.Comment == id
}
