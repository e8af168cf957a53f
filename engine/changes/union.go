package changes

import (
	"errors"
	"slices"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// union reads directories that lie over each other as the kernel would show
// them. It mounts nothing and reads a running container's as well; whatever
// that puts in the way of a name is not followed, since every step is taken
// from a descriptor.
type union struct {
	kind string // machine.Layers.Kind
	buf  []byte
}

// dir is an open directory of layer at, 0 the topmost.
type dir struct{ fd, at int }

// node is one name of a union.
type node struct {
	name string
	fd   int // the directory that it is in; borrowed
	at   int // the layer that it is of
	st   unix.Stat_t
	// covered: something is mounted on it, which is not to be looked at.
	covered bool
}

func (n *node) is(mode uint32) bool { return uint32(n.st.Mode)&unix.S_IFMT == mode }

// open opens the roots.
func open(paths []string) ([]dir, error) {
	var dirs []dir
	for i, p := range paths {
		fd, err := sys.OpenDirat(unix.AT_FDCWD, p)
		if err != nil {
			shut(dirs)
			return nil, err
		}
		dirs = append(dirs, dir{fd, i})
	}
	return dirs, nil
}

func shut(dirs []dir) {
	for _, d := range dirs {
		unix.Close(d.fd)
	}
}

const aufsMark = ".wh."

// list reads a directory; the nodes are sorted by name.
func (u *union) list(dirs []dir) ([]*node, error) {
	if u.buf == nil {
		u.buf = make([]byte, 1<<16)
	}
	var out []*node
	seen := map[string]bool{}
	for _, d := range dirs {
		var names, hidden []string
		err := sys.Dirents(d.fd, u.buf, func(name string, _ byte) error {
			names = append(names, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, aufsMark); ok && u.kind == "aufs" {
				hidden = append(hidden, rest)
				continue
			}
			if seen[name] {
				continue
			}
			n := &node{name: name, fd: d.fd, at: d.at}
			if err := sys.Fstatat(d.fd, name, &n.st); errors.Is(err, unix.ENOENT) {
				continue // just removed
			} else if err != nil {
				return nil, err
			}
			seen[name] = true
			if !u.whiteout(n) {
				out = append(out, n)
			}
		}
		for _, name := range hidden {
			seen[name] = true
		}
	}
	slices.SortFunc(out, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// whiteout: overlayfs.rst, "whiteouts and opaque directories".
func (u *union) whiteout(n *node) bool {
	switch {
	case u.kind != "overlay":
	case n.is(unix.S_IFCHR):
		return n.st.Rdev == 0
	case n.is(unix.S_IFREG) && n.st.Size == 0:
		for _, attr := range [...]string{"user.overlay.whiteout", "trusted.overlay.whiteout"} {
			if _, err := sys.Getxattrat(n.fd, n.name, attr); err == nil {
				return true
			}
		}
	}
	return false
}

// enter opens directory n of dirs.
func (u *union) enter(dirs []dir, n *node) ([]dir, error) {
	var out []dir
	for _, d := range dirs {
		if d.at < n.at {
			continue
		}
		fd, err := sys.OpenDirat(d.fd, n.name)
		switch {
		case errors.Is(err, unix.ENOENT):
			if u.marked(d.fd, aufsMark+n.name) {
				return out, nil
			}
			continue
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return out, nil
		case err != nil:
			shut(out)
			return nil, err
		}
		out = append(out, dir{fd, d.at})
		if u.opaque(fd) || u.marked(d.fd, aufsMark+n.name) {
			return out, nil
		}
	}
	return out, nil
}

func (u *union) marked(fd int, name string) bool {
	var st unix.Stat_t
	return u.kind == "aufs" && sys.Fstatat(fd, name, &st) == nil
}

func (u *union) opaque(fd int) bool {
	if u.kind == "overlay" {
		for _, attr := range [...]string{"trusted.overlay.opaque", "user.overlay.opaque"} {
			if v, err := sys.Fgetxattr(fd, attr); err == nil && string(v) == "y" {
				return true
			}
		}
	}
	return u.marked(fd, aufsMark+aufsMark+".opq")
}
