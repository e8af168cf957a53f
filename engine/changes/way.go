package changes

import (
	"errors"
	"path"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links on a way, as the kernel does.
const maxLinks = 40

// way is a path below a root, walked component by component with a descriptor
// for each directory: ".." is where we came from, an absolute link begins at
// the root again, and nothing that is swapped meanwhile leads outside.
type way struct {
	fds   []int // the root first
	names []string
	links int
	// missing makes a directory that is not there; nil: it is an error.
	missing func(dirfd int, name string) error
	// plain refuses symbolic links.
	plain bool
}

// begin takes a descriptor of its own of the root.
func begin(root int) (*way, error) {
	fd, err := sys.OpenDirat(root, ".")
	if err != nil {
		return nil, err
	}
	return &way{fds: []int{fd}}, nil
}

func (w *way) close() {
	for _, fd := range w.fds {
		unix.Close(fd)
	}
	w.fds = nil
}

func (w *way) top() int { return w.fds[len(w.fds)-1] }

// path is where the top is, as seen from the root.
func (w *way) path() string { return "/" + strings.Join(w.names, "/") }

func (w *way) up() {
	if n := len(w.names); n > 0 {
		unix.Close(w.fds[n])
		w.fds, w.names = w.fds[:n], w.names[:n-1]
	}
}

// find goes along p and returns the name that it ends with, in the directory
// at the top, or "." when p is that directory. The name need not exist. A link
// at the end is followed if p ends with a slash or if follow says so.
func (w *way) find(p string, follow bool) (string, error) {
	todo := parts(p)
	must := strings.HasSuffix(p, "/") || path.Base(p) == "."
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			w.up()
			continue
		}
		last := len(todo) == 0 && !must
		fd, err := sys.OpenDirat(w.top(), name)
		if errors.Is(err, unix.ENOENT) && w.missing != nil && !last {
			if err = w.missing(w.top(), name); err == nil {
				fd, err = sys.OpenDirat(w.top(), name)
			}
		}
		switch {
		case err == nil:
			w.fds, w.names = append(w.fds, fd), append(w.names, name)
			continue
		case errors.Is(err, unix.ENOENT) && last:
			return name, nil
		case !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
			return "", err
		}
		target, rerr := sys.Readlinkat(w.top(), name)
		switch {
		case last && (rerr != nil || !follow):
			return name, nil
		case rerr != nil || w.plain:
			return "", unix.ENOTDIR
		}
		if w.links++; w.links > maxLinks {
			return "", unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			for len(w.names) > 0 {
				w.up()
			}
		}
		if len(todo) == 0 && strings.HasSuffix(target, "/") {
			must = true
		}
		todo = append(parts(target), todo...)
	}
	return ".", nil
}

func parts(p string) []string {
	var out []string
	for _, s := range strings.Split(p, "/") {
		if s != "" && s != "." {
			out = append(out, s)
		}
	}
	return out
}
