package layer

import (
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

// begin makes fd the root.
func (a *applier) begin(fd int) error {
	a.times = map[string]dirTimes{}
	a.whiteouts = map[string]struct{}{}
	l := &level{fd: fd}
	a.stack = []*level{l}
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

func (a *applier) top() *level { return a.stack[len(a.stack)-1] }

// enter makes dir, a clean name, the top of the stack, and makes what is
// missing of it.
func (a *applier) enter(dir string) (*level, error) {
	keep := 0
	rest := dir
	for !a.stale && keep+1 < len(a.stack) {
		name, tail, _ := strings.Cut(rest, "/")
		if rest == "" || a.stack[keep+1].name != name {
			break
		}
		keep, rest = keep+1, tail
	}
	for len(a.stack) > keep+1 {
		if err := a.pop(); err != nil {
			return nil, err
		}
	}
	a.stale = false
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if err := a.step(name); err != nil {
			return nil, err
		}
	}
	return a.top(), nil
}

// pop closes the top. Its time is set now and not when its entry was read:
// what was made in it since has changed it.
func (a *applier) pop() error {
	l := a.top()
	a.stack = a.stack[:len(a.stack)-1]
	var err error
	if l.touched {
		if t, ok := a.times[l.real]; ok {
			err = sys.Futimes(l.fd, t.atime, t.mtime)
		}
	}
	unix.Close(l.fd)
	return err
}

// step enters a component below the top, which may be a symbolic link to a
// directory of the tree, or missing.
func (a *applier) step(name string) error {
	up := a.top()
	if strings.HasPrefix(name, whPrefix) {
		return fmt.Errorf("%w: whiteout %q as a directory", ErrInvalid, name)
	}
	l := &level{name: name, real: join(up.real, name)}
	if len(l.real) > maxName {
		return fmt.Errorf("%w: %w", ErrInvalid, unix.ENAMETOOLONG)
	}
	fd, err := a.openDir(up.fd, name, l.real)
	switch {
	case err == nil:
		l.fd = fd
		return a.push(l)
	case errors.Is(err, unix.ENOENT):
		return a.implicit(up, l)
	case !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
		return err
	}
	target, err := sys.Readlinkat(up.fd, name)
	if errors.Is(err, unix.EINVAL) {
		// Not a link: a file, or a whiteout that we made, gives way.
		hidden, err := a.clear(up, name)
		if err != nil {
			return err
		}
		if err := a.implicit(up, l); err != nil || !hidden {
			return err
		}
		return a.opaque(l)
	}
	if err != nil {
		return err
	}
	if l.fd, l.real, err = a.resolve(up.real, target, true); err != nil {
		return fmt.Errorf("link %q -> %q: %w", name, target, err)
	}
	return a.push(l)
}

func (a *applier) push(l *level) error {
	a.stack = append(a.stack, l)
	return l.stat()
}

// implicit makes and enters a directory that the archive has no entry for, or
// none yet.
func (a *applier) implicit(up, l *level) error {
	if err := a.makeImplicit(up.fd, l.name); err != nil {
		return err
	}
	up.touched = true
	a.own(l.real)
	var err error
	if l.fd, err = sys.OpenDirat(up.fd, l.name); err != nil {
		return err
	}
	if err := a.push(l); err != nil || a.opt.Style != AUFS {
		return err
	}
	hidden, err := a.unhide(up, l.name)
	if err != nil || !hidden {
		return err
	}
	return a.opaque(l)
}

func (a *applier) makeImplicit(dirfd int, name string) error {
	if err := sys.Mkdirat(dirfd, name, 0o755); err != nil {
		return err
	}
	if a.umask&0o755 == 0 {
		return nil
	}
	return sys.ChmodNoFollow(dirfd, name, 0o755)
}

// openDir opens a directory, one that forbids it to its owner too; that one's
// mode is put back at the end.
func (a *applier) openDir(dirfd int, name, real string) (int, error) {
	fd, err := sys.OpenDirat(dirfd, name)
	if a.uid == 0 || (err != nil && !errors.Is(err, unix.EACCES)) {
		return fd, err
	}
	var st unix.Stat_t
	if e := sys.Fstatat(dirfd, name, &st); e != nil {
		unix.Close(fd)
		return -1, e
	}
	mode := st.Mode & 0o7777
	if mode&0o700 == 0o700 || int(st.Uid) != a.uid || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fd, err
	}
	if err == nil {
		unix.Close(fd)
	}
	if err := sys.ChmodNoFollow(dirfd, name, mode|0o700); err != nil {
		return -1, err
	}
	a.late = append(a.late, lateMode{real, mode})
	return sys.OpenDirat(dirfd, name)
}

// resolve walks target, as a link in the directory base means it, with the
// tree as the whole world. It is the slow way: from the root, with a
// descriptor for each level, so that ".." is always the way that we came.
func (a *applier) resolve(base, target string, create bool) (fd int, real string, err error) {
	w := &climb{a: a, create: create, fds: []int{}, names: []string{}}
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
		fd, err = sys.OpenDirat(a.stack[0].fd, ".")
		return fd, "", err
	}
	fd = w.fds[len(w.fds)-1]
	return fd, strings.Join(w.names, "/"), nil
}

// climb is the way from the root.
type climb struct {
	a      *applier
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
	at := w.a.stack[0].fd
	if n := len(w.fds); n > 0 {
		at = w.fds[n-1]
	}
	real := join(strings.Join(w.names, "/"), name)
	fd, err := w.a.openDir(at, name, real)
	if errors.Is(err, unix.ENOENT) && w.create {
		if err = w.a.makeImplicit(at, name); err == nil {
			w.a.own(real)
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
func (a *applier) own(real string) {
	for a.mine != nil && real != "" {
		if _, ok := a.mine[real]; ok {
			return
		}
		a.mine[real] = struct{}{}
		real, _ = split(real)
	}
}

// clear removes what is in an entry's place. hidden: it was a whiteout, so
// nothing of the layers below may shine through.
func (a *applier) clear(up *level, name string) (hidden bool, err error) {
	real := join(up.real, name)
	if _, hidden = a.whiteouts[real]; hidden {
		delete(a.whiteouts, real)
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
	a.stale = true
	a.forget(real)
	return hidden, tree.RemoveAt(a.ctx, up.fd, name)
}

// forget drops what is remembered of directories at and below real.
func (a *applier) forget(real string) {
	within := func(p string) bool { return p == real || strings.HasPrefix(p, real+"/") }
	for p := range a.times {
		if within(p) {
			delete(a.times, p)
		}
	}
	for p := range a.whiteouts {
		if within(p) {
			delete(a.whiteouts, p)
		}
	}
	for p := range a.mine {
		if within(p) {
			delete(a.mine, p)
		}
	}
	a.late = slices.DeleteFunc(a.late, func(l lateMode) bool { return within(l.real) })
	a.lateACL = slices.DeleteFunc(a.lateACL, func(l lateACL) bool { return within(l.real) })
}
