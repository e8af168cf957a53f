package layer

import (
	"errors"
	"fmt"
	"strings"

	"coracle/fs/tree"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// The names of OCI image-spec, layer.md, "Whiteouts".
const (
	whPrefix = ".wh."
	whMeta   = ".wh..wh." // aufs's own files, but for whOpaque
	whOpaque = ".wh..wh..opq"
)

// housekeeping tells whether name is or is in one of aufs's own files, which
// old Docker versions left in archives.
func housekeeping(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, whMeta) && part != whOpaque {
			return true
		}
	}
	return false
}

// whiteout hides a name of the layers below, or, with whOpaque, all of the
// directory. What this layer itself has under that name stays.
func (t *trail) whiteout(up *level, base string) error {
	if base == whOpaque {
		return t.opaque(up)
	}
	name := strings.TrimPrefix(base, whPrefix)
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("%w: whiteout of %q", ErrInvalid, name)
	}
	up.touched = true
	switch t.opt.Style {
	case Overlay:
		return t.whiteoutOverlay(up, name)
	case AUFS:
		return t.whiteoutAUFS(up, base, name)
	}
	return t.deleteLower(up.fd, name, join(up.real, name))
}

func (t *trail) whiteoutOverlay(up *level, name string) error {
	real := join(up.real, name)
	err := sys.Mknodat(up.fd, name, unix.S_IFCHR, 0)
	switch {
	case errors.Is(err, unix.EEXIST):
		return t.hideBeneath(up, name)
	case errors.Is(err, unix.EPERM):
		// Before Linux 5.8 an ordinary user may not make even this device.
		err = t.whiteoutByAttr(up, name)
	}
	if err == nil {
		t.whiteouts[real] = struct{}{}
	}
	return err
}

// hideBeneath serves a whiteout that comes after the entry that it would hide.
func (t *trail) hideBeneath(up *level, name string) error {
	fd, err := sys.OpenDirat(up.fd, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a file hides by itself
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.opaque(&level{fd: fd, name: name, real: join(up.real, name)})
}

// whiteoutByAttr makes an empty file with an attribute, in a directory that
// says that it holds such (overlayfs.rst, "Whiteouts and opaque directories";
// Linux 6.7).
func (t *trail) whiteoutByAttr(up *level, name string) error {
	fd, err := sys.Openat(up.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := sys.Fsetxattr(fd, t.overlayAttr("whiteout"), []byte("y")); err != nil {
		return err
	}
	if v, err := sys.Fgetxattr(up.fd, t.overlayAttr("opaque")); err == nil && string(v) == "y" {
		return nil
	}
	return sys.Fsetxattr(up.fd, t.overlayAttr("opaque"), []byte("x"))
}

func (t *trail) overlayAttr(name string) string {
	if t.opt.UserXattr {
		return "user.overlay." + name
	}
	return "trusted.overlay." + name
}

func (t *trail) whiteoutAUFS(up *level, base, name string) error {
	var st unix.Stat_t
	if sys.Fstatat(up.fd, name, &st) == nil {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		return t.hideBeneath(up, name)
	}
	if err := t.touch(up.fd, base); err != nil {
		return err
	}
	t.whiteouts[join(up.real, name)] = struct{}{}
	return nil
}

// unhide removes the whiteout of a name that now exists: aufs would go by the
// whiteout.
func (t *trail) unhide(up *level, name string) (hidden bool, err error) {
	real := join(up.real, name)
	if _, ok := t.whiteouts[real]; !ok {
		return false, nil
	}
	delete(t.whiteouts, real)
	return true, sys.Unlinkat(up.fd, whPrefix+name, 0)
}

func (t *trail) touch(dirfd int, name string) error {
	fd, err := sys.Openat(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return nil
}

// opaque hides what the layers below have in the directory l.
func (t *trail) opaque(l *level) error {
	l.touched = true
	switch t.opt.Style {
	case Overlay:
		return sys.Fsetxattr(l.fd, t.overlayAttr("opaque"), []byte("y"))
	case AUFS:
		return t.touch(l.fd, whOpaque)
	}
	return t.emptyLower(l.fd, l.real)
}

// deleteLower deletes name but for what this archive made.
func (t *trail) deleteLower(dirfd int, name, real string) error {
	if _, mine := t.mine[real]; !mine {
		t.stale = true
		t.forget(real)
		return tree.RemoveAt(t.ctx, dirfd, name)
	}
	fd, err := t.openDir(dirfd, name, real)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.emptyLower(fd, real)
}

func (t *trail) emptyLower(fd int, real string) error {
	// A descriptor of our own: reading moves its position.
	own, err := sys.OpenDirat(fd, ".")
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if t.dents == nil {
		t.dents = make([]byte, 16<<10)
	}
	var all []string
	err = sys.Dirents(own, t.dents, func(name string, _ byte) error { all = append(all, name); return nil })
	for i := 0; i < len(all) && err == nil; i++ {
		err = t.deleteLower(own, all[i], join(real, all[i]))
	}
	return err
}
