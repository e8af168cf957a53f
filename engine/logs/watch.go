package logs

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watch tells when something in a log's directory changed.
type watch struct {
	changed chan struct{}
	f       *os.File
	stop    chan struct{}
}

func newWatch(path string) *watch {
	w := &watch{changed: make(chan struct{}, 1), stop: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF)
		if err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		// No inotify, or the user's instances are used up (EMFILE).
		go w.tick()
		return w
	}
	w.f = os.NewFile(uintptr(fd), "inotify")
	go w.read()
	return w
}

func (w *watch) read() {
	buf := make([]byte, 4096)
	for {
		if _, err := w.f.Read(buf); err != nil {
			return
		}
		w.signal()
	}
}

func (w *watch) tick() {
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(100 * time.Millisecond):
			w.signal()
		}
	}
}

func (w *watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watch) close() {
	close(w.stop)
	if w.f != nil {
		w.f.Close()
	}
}

// Watch tells of each change in the directory of path, also of files that are made
// there, until stop is called.
func Watch(path string) (changed <-chan struct{}, stop func()) {
	w := newWatch(path)
	return w.changed, w.close
}
