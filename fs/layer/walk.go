package layer

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"coracle/fs/tree"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// maxName bounds a name, and maxLinks the links on the way: the kernel's own
// bounds, so that what is unpacked can be reached by its path.
const (
	maxName  = 4095
	maxLinks = 40
)

// level is an open directory. The stack of levels is the way from the root to
// the directory of the last entry; tar files mostly stay in one directory for
// long, so most entries need no walk at all.
type level struct {
	name    string // as in the archive
	real    string // path from the root with no links; "" for the root
	fd      int
	gid     int  // new files get ours only when this is ours
	setgid  bool // new directories inherit the bit
	touched bool
}

// trail is the tree, as far as one unpacking walks in it and remembers.
type trail struct {
	ctx   context.Context
	opt   Options
	umask uint32
	uid   int
	dents []byte

	stack []*level
	stale bool // a directory was removed: the stack may hold it
	// mine holds the real paths that this archive made, where whiteouts delete:
	// they hide what is below this layer only.
	mine      map[string]struct{}
	whiteouts map[string]struct{} // made by us
	times     map[string]dirTimes
	late      []lateMode
	lateACL   []lateACL
}

// begin makes fd the root.
func (t *trail) begin(fd int) error {
	t.times = map[string]dirTimes{}
	t.whiteouts = map[string]struct{}{}
	l := &level{fd: fd}
	t.stack = []*level{l}
	return l.stat()
}

func (l *level) stat() error {
	var st unix.Stat_t
	if err := sys.Fstat(l.fd, &st); err != nil {
		return err
	}
	l.gid, l.setgid = int(st.Gid), st.Mode&unix.S_ISGID != 0
	return nil
}

// clean makes a name of the archive relative and lexically clean; "" is the
// root.
func clean(name string) (string, error) {
	if len(name) > maxName {
		return "", fmt.Errorf("%w: %w", ErrInvalid, unix.ENAMETOOLONG)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: zero byte in a name", ErrInvalid)
	}
	if strings.HasPrefix(name, "/") {
		name = path.Clean(name)[1:]
	} else {
		name = path.Clean(name)
	}
	if name == "." {
		name = ""
	}
	if name == ".." || strings.HasPrefix(name, "../") {
		return "", ErrUnsafe
	}
	return name, nil
}

// split cuts a clean name into directory and last component.
func split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (t *trail) top() *level { return t.stack[len(t.stack)-1] }

// enter makes dir, a clean name, the top of the stack, and makes what is
// missing of it.
func (t *trail) enter(dir string) (*level, error) {
	keep := 0
	rest := dir
	for !t.stale && keep+1 < len(t.stack) {
		name, tail, _ := strings.Cut(rest, "/")
		if rest == "" || t.stack[keep+1].name != name {
			break
		}
		keep, rest = keep+1, tail
	}
	for len(t.stack) > keep+1 {
		if err := t.pop(); err != nil {
			return nil, err
		}
	}
	t.stale = false
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if err := t.step(name); err != nil {
			return nil, err
		}
	}
	return t.top(), nil
}

// pop closes the top. Its time is set now and not when its entry was read:
// what was made in it since has changed it.
func (t *trail) pop() error {
	l := t.top()
	t.stack = t.stack[:len(t.stack)-1]
	var err error
	if l.touched {
		if t, ok := t.times[l.real]; ok {
			err = sys.Futimes(l.fd, t.atime, t.mtime)
		}
	}
	unix.Close(l.fd)
	return err
}

// step enters a component below the top, which may be a symbolic link to a
// directory of the tree, or missing.
func (t *trail) step(name string) error {
	up := t.top()
	if strings.HasPrefix(name, whPrefix) {
		return fmt.Errorf("%w: whiteout %q as a directory", ErrInvalid, name)
	}
	l := &level{name: name, real: join(up.real, name)}
	if len(l.real) > maxName {
		return fmt.Errorf("%w: %w", ErrInvalid, unix.ENAMETOOLONG)
	}
	fd, err := t.openDir(up.fd, name, l.real)
	switch {
	case err == nil:
		l.fd = fd
		return t.push(l)
	case errors.Is(err, unix.ENOENT):
		return t.implicit(up, l)
	case !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
		return err
	}
	target, err := sys.Readlinkat(up.fd, name)
	if errors.Is(err, unix.EINVAL) {
		// Not a link: a file, or a whiteout that we made, gives way.
		hidden, err := t.clear(up, name)
		if err != nil {
			return err
		}
		if err := t.implicit(up, l); err != nil || !hidden {
			return err
		}
		return t.opaque(l)
	}
	if err != nil {
		return err
	}
	if l.fd, l.real, err = t.resolve(up.real, target, true); err != nil {
		return fmt.Errorf("link %q -> %q: %w", name, target, err)
	}
	return t.push(l)
}

func (t *trail) push(l *level) error {
	t.stack = append(t.stack, l)
	return l.stat()
}

// implicit makes and enters a directory that the archive has no entry for, or
// none yet.
func (t *trail) implicit(up, l *level) error {
	if err := t.makeImplicit(up.fd, l.name); err != nil {
		return err
	}
	up.touched = true
	t.own(l.real)
	var err error
	if l.fd, err = sys.OpenDirat(up.fd, l.name); err != nil {
		return err
	}
	if err := t.push(l); err != nil || t.opt.Style != AUFS {
		return err
	}
	hidden, err := t.unhide(up, l.name)
	if err != nil || !hidden {
		return err
	}
	return t.opaque(l)
}

func (t *trail) makeImplicit(dirfd int, name string) error {
	if err := sys.Mkdirat(dirfd, name, 0o755); err != nil {
		return err
	}
	if t.umask&0o755 == 0 {
		return nil
	}
	return sys.ChmodNoFollow(dirfd, name, 0o755)
}

// openDir opens a directory, one that forbids it to its owner too; that one's
// mode is put back at the end.
func (t *trail) openDir(dirfd int, name, real string) (int, error) {
	fd, err := sys.OpenDirat(dirfd, name)
	if t.uid == 0 || (err != nil && !errors.Is(err, unix.EACCES)) {
		return fd, err
	}
	var st unix.Stat_t
	if e := sys.Fstatat(dirfd, name, &st); e != nil {
		unix.Close(fd)
		return -1, e
	}
	mode := st.Mode & 0o7777
	if mode&0o700 == 0o700 || int(st.Uid) != t.uid || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fd, err
	}
	if err == nil {
		unix.Close(fd)
	}
	if err := sys.ChmodNoFollow(dirfd, name, mode|0o700); err != nil {
		return -1, err
	}
	t.late = append(t.late, lateMode{real, mode})
	return sys.OpenDirat(dirfd, name)
}

// resolve walks target, as a link in the directory base means it, with the
// tree as the whole world. It is the slow way: from the root, with a
// descriptor for each level, so that ".." is always the way that we came.
func (t *trail) resolve(base, target string, create bool) (fd int, real string, err error) {
	w := &climb{t: t, create: create, fds: []int{}, names: []string{}}
	defer func() { w.close(fd) }()
	todo := strings.Split(target, "/")
	if !strings.HasPrefix(target, "/") && base != "" {
		todo = append(strings.Split(base, "/"), todo...)
	}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		more, err := w.step(name)
		if err != nil {
			return -1, "", err
		}
		if more == nil {
			continue
		}
		if w.links++; w.links > maxLinks {
			return -1, "", unix.ELOOP
		}
		todo = append(more, todo...)
	}
	if len(w.fds) == 0 {
		// The root: a descriptor of its own, for the caller closes it.
		fd, err = sys.OpenDirat(t.stack[0].fd, ".")
		return fd, "", err
	}
	fd = w.fds[len(w.fds)-1]
	return fd, strings.Join(w.names, "/"), nil
}

// climb is the way from the root.
type climb struct {
	t      *trail
	create bool
	fds    []int
	names  []string
	length int
	links  int
}

func (w *climb) close(but int) {
	for _, fd := range w.fds {
		if fd != but {
			unix.Close(fd)
		}
	}
}

// step enters name; more are the components of a link to go on with.
func (w *climb) step(name string) (more []string, err error) {
	switch name {
	case "", ".":
		return nil, nil
	case "..":
		if n := len(w.fds); n > 0 {
			unix.Close(w.fds[n-1])
			w.length -= len(w.names[n-1]) + 1
			w.fds, w.names = w.fds[:n-1], w.names[:n-1]
		}
		return nil, nil
	}
	if w.length += len(name) + 1; w.length > maxName {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, unix.ENAMETOOLONG)
	}
	at := w.t.stack[0].fd
	if n := len(w.fds); n > 0 {
		at = w.fds[n-1]
	}
	real := join(strings.Join(w.names, "/"), name)
	fd, err := w.t.openDir(at, name, real)
	if errors.Is(err, unix.ENOENT) && w.create {
		if err = w.t.makeImplicit(at, name); err == nil {
			w.t.own(real)
			fd, err = sys.OpenDirat(at, name)
		}
	}
	if err == nil {
		w.fds, w.names = append(w.fds, fd), append(w.names, name)
		return nil, nil
	}
	if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return nil, err
	}
	target, rerr := sys.Readlinkat(at, name)
	if rerr != nil {
		return nil, unix.ENOTDIR
	}
	w.length -= len(name) + 1
	if strings.HasPrefix(target, "/") {
		w.close(-1)
		w.fds, w.names, w.length = nil, nil, 0
	}
	return strings.Split(target, "/"), nil
}

// own records that this archive made real, and so all directories above it.
func (t *trail) own(real string) {
	for t.mine != nil && real != "" {
		if _, ok := t.mine[real]; ok {
			return
		}
		t.mine[real] = struct{}{}
		real, _ = split(real)
	}
}

// clear removes what is in an entry's place. hidden: it was a whiteout, so
// nothing of the layers below may shine through.
func (t *trail) clear(up *level, name string) (hidden bool, err error) {
	real := join(up.real, name)
	if _, hidden = t.whiteouts[real]; hidden {
		delete(t.whiteouts, real)
	}
	up.touched = true
	var st unix.Stat_t
	if err := sys.Fstatat(up.fd, name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		return hidden, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return hidden, sys.Unlinkat(up.fd, name, 0)
	}
	t.stale = true
	t.forget(real)
	return hidden, tree.RemoveAt(t.ctx, up.fd, name)
}

// forget drops what is remembered of directories at and below real.
func (t *trail) forget(real string) {
	within := func(p string) bool { return p == real || strings.HasPrefix(p, real+"/") }
	for p := range t.times {
		if within(p) {
			delete(t.times, p)
		}
	}
	for p := range t.whiteouts {
		if within(p) {
			delete(t.whiteouts, p)
		}
	}
	for p := range t.mine {
		if within(p) {
			delete(t.mine, p)
		}
	}
	t.late = slices.DeleteFunc(t.late, func(l lateMode) bool { return within(l.real) })
	t.lateACL = slices.DeleteFunc(t.lateACL, func(l lateACL) bool { return within(l.real) })
}
