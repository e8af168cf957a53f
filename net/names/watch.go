package names

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// every is how often directories are read where the kernel tells of no change.
const every = 100 * time.Millisecond

// watch follows a book's directories and the ones above them, by inotify or by
// looking again and again. It begins with the first directory: a user has 128
// instances of inotify (max_user_instances), and a book without directories none.
type watch struct {
	b    *Book
	done chan struct{}
	once sync.Once

	// turn is held while what the kernel told is read and taken in, so that who
	// finds nothing to read knows that all of it is known.
	turn sync.Mutex
	buf  []byte

	mu    sync.Mutex
	begun bool
	file  *os.File // inotify; nil: none
	conn  syscall.RawConn
	wds   map[int32]string // watched directories
	above map[int32]string // their parents, where they will be made
}

func newWatch(b *Book) *watch {
	return &watch{b: b, done: make(chan struct{}), wds: map[int32]string{}, above: map[int32]string{}}
}

// begin begins to follow; with the lock held.
func (w *watch) begin() {
	w.begun, w.buf = true, make([]byte, 16<<10)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		w.file = os.NewFile(uintptr(fd), "inotify")
		if w.conn, err = w.file.SyscallConn(); err == nil {
			go w.follow(w.conn)
			return
		}
		w.file.Close()
		w.file = nil
	}
	go w.poll()
}

func (w *watch) close() {
	w.once.Do(func() {
		close(w.done)
		w.mu.Lock()
		file := w.file
		w.mu.Unlock()
		// Without the lock: Close waits for who is reading, and that one takes it.
		if file != nil {
			file.Close()
		}
	})
}

// now takes in what the kernel has told and nobody has read yet. It tells of a change
// before the call that makes it returns (inotify(7)), so that who asks after a
// change gets no answer from before it.
func (w *watch) now() {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		conn.Control(func(fd uintptr) { w.drain(int(fd)) })
	}
}

// add watches dir and the directory above it.
func (w *watch) add(dir string) {
	w.mark(w.above, filepath.Dir(dir), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	w.mark(w.wds, dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_ONLYDIR)
}

func (w *watch) mark(list map[int32]string, dir string, mask uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.begin()
	}
	if w.conn == nil {
		return
	}
	w.conn.Control(func(fd uintptr) {
		if wd, err := unix.InotifyAddWatch(int(fd), dir, mask); err == nil {
			list[int32(wd)] = dir
		}
	})
}

func (w *watch) remove(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wd, d := range w.wds {
		if d != dir || w.conn == nil {
			continue
		}
		delete(w.wds, wd)
		w.conn.Control(func(fd uintptr) { unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// follow reads events until the watch is closed.
func (w *watch) follow(conn syscall.RawConn) {
	conn.Read(func(fd uintptr) bool { return w.drain(int(fd)) != nil })
	select {
	case <-w.done:
	default:
		w.poll()
	}
}

// drain takes in all that is to be read.
func (w *watch) drain(fd int) error {
	w.turn.Lock()
	defer w.turn.Unlock()
	for {
		n, err := unix.Read(fd, w.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return err
		}
		changed := false
		for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			ev := *(*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := min(len(b), unix.SizeofInotifyEvent+int(ev.Len))
			name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
			b = b[end:]
			changed = w.event(ev, string(name)) || changed
		}
		if changed {
			w.b.changed()
		}
	}
}

func (w *watch) event(ev unix.InotifyEvent, name string) bool {
	if ev.Mask&unix.IN_Q_OVERFLOW != 0 {
		return w.all()
	}
	w.mu.Lock()
	dir, ok := w.wds[ev.Wd]
	parent, isAbove := w.above[ev.Wd]
	if ev.Mask&unix.IN_IGNORED != 0 {
		delete(w.wds, ev.Wd)
		delete(w.above, ev.Wd)
	}
	w.mu.Unlock()
	switch {
	case ok && ev.Mask&unix.IN_IGNORED != 0:
		// The directory is gone; it may have been made anew already.
		w.add(dir)
		return w.b.read(dir) == nil
	case ok:
		return w.b.one(dir, name)
	case isAbove && ev.Mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		dir := filepath.Join(parent, name)
		if w.b.follows(dir) {
			w.add(dir)
			return w.b.read(dir) == nil
		}
	}
	return false
}

// follows tells whether dir is one of the book's.
func (b *Book) follows(dir string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.dirs[dir]
	return ok
}

// all reads every directory again.
func (w *watch) all() bool {
	w.b.mu.Lock()
	var dirs []string
	for dir := range w.b.dirs {
		dirs = append(dirs, dir)
	}
	w.b.mu.Unlock()
	for _, dir := range dirs {
		w.b.read(dir)
	}
	return len(dirs) > 0
}

// poll is for kernels without inotify, and users who have none left.
func (w *watch) poll() {
	t := time.NewTicker(every)
	defer t.Stop()
	seen := map[string]time.Time{}
	for {
		select {
		case <-w.done:
			return
		case <-t.C:
		}
		w.b.mu.Lock()
		var dirs []string
		for dir := range w.b.dirs {
			dirs = append(dirs, dir)
		}
		w.b.mu.Unlock()
		changed := false
		for _, dir := range dirs {
			var at time.Time
			if st, err := os.Stat(dir); err == nil {
				at = st.ModTime()
			}
			// Two changes within one tick of the clock leave the same time.
			if old, ok := seen[dir]; ok && old.Equal(at) && time.Since(at) > time.Second {
				continue
			}
			seen[dir] = at
			changed = w.b.read(dir) == nil || changed
		}
		if changed {
			w.b.changed()
		}
	}
}
