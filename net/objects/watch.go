package objects

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher tells when endpoints come, go or change in directories of networks.
type Watcher struct {
	changed func()

	mu    sync.Mutex
	f     *os.File
	fd    int // of f, whose Fd would make it blocking
	marks map[string]int
	done  chan struct{}
}

// tick is how often directories are looked at where the kernel does not say that
// they changed.
const tick = 100 * time.Millisecond

// Watch calls changed, from a goroutine of its own, when one of dirs changed.
func Watch(changed func(), dirs ...string) *Watcher {
	w := &Watcher{changed: changed, marks: map[string]int{}, done: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		go w.poll()
	} else {
		w.f, w.fd = os.NewFile(uintptr(fd), "inotify"), fd
		go w.read()
	}
	w.Set(dirs...)
	return w
}

// Set changes which directories are watched.
func (w *Watcher) Set(dirs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.marks
	w.marks = map[string]int{}
	for _, d := range dirs {
		if mark, ok := old[d]; ok {
			w.marks[d] = mark
			delete(old, d)
			continue
		}
		w.marks[d] = -1
		if w.f != nil {
			if mark, err := unix.InotifyAddWatch(w.fd, d, unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_ONLYDIR); err == nil {
				w.marks[d] = mark
			}
		}
	}
	for _, mark := range old {
		if w.f != nil && mark >= 0 {
			unix.InotifyRmWatch(w.fd, uint32(mark))
		}
	}
}

func (w *Watcher) read() {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		// What happened matters less than that it did: all is read again.
		if _, err := w.f.Read(buf); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return
			}
			time.Sleep(tick)
		}
		w.changed()
	}
}

// poll serves kernels without inotify, by the times of the directories.
func (w *Watcher) poll() {
	seen := map[string]time.Time{}
	for {
		select {
		case <-w.done:
			return
		case <-time.After(tick):
		}
		different := false
		w.mu.Lock()
		for d := range w.marks {
			if st, err := os.Stat(filepath.Clean(d)); err == nil && !st.ModTime().Equal(seen[d]) {
				seen[d], different = st.ModTime(), true
			}
		}
		w.mu.Unlock()
		if different {
			w.changed()
		}
	}
}

// Stop ends it.
func (w *Watcher) Stop() {
	if w == nil {
		return
	}
	if w.f == nil {
		close(w.done)
		return
	}
	w.f.Close()
	<-w.done
}
