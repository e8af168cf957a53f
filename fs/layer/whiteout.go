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
func (a *applier) whiteout(up *level, base string) error {
	if base == whOpaque {
		return a.opaque(up)
	}
	name := strings.TrimPrefix(base, whPrefix)
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("%w: whiteout of %q", ErrInvalid, name)
	}
	up.touched = true
	switch a.opt.Style {
	case Overlay:
		return a.whiteoutOverlay(up, name)
	case AUFS:
		return a.whiteoutAUFS(up, base, name)
	}
	return a.deleteLower(up.fd, name, join(up.real, name))
}

func (a *applier) whiteoutOverlay(up *level, name string) error {
	real := join(up.real, name)
	err := sys.Mknodat(up.fd, name, unix.S_IFCHR, 0)
	switch {
	case errors.Is(err, unix.EEXIST):
		return a.hideBeneath(up, name)
	case errors.Is(err, unix.EPERM):
		// Before Linux 5.8 an ordinary user may not make even this device.
		err = a.whiteoutByAttr(up, name)
	}
	if err == nil {
		a.whiteouts[real] = struct{}{}
	}
	return err
}

// hideBeneath serves a whiteout that comes after the entry that it would hide.
func (a *applier) hideBeneath(up *level, name string) error {
	fd, err := sys.OpenDirat(up.fd, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a file hides by itself
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return a.opaque(&level{fd: fd, name: name, real: join(up.real, name)})
}

// whiteoutByAttr makes an empty file with an attribute, in a directory that
// says that it holds such (overlayfs.rst, "Whiteouts and opaque directories";
// Linux 6.7).
func (a *applier) whiteoutByAttr(up *level, name string) error {
	fd, err := sys.Openat(up.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := sys.Fsetxattr(fd, a.overlayAttr("whiteout"), []byte("y")); err != nil {
		return err
	}
	if v, err := sys.Fgetxattr(up.fd, a.overlayAttr("opaque")); err == nil && string(v) == "y" {
		return nil
	}
	return sys.Fsetxattr(up.fd, a.overlayAttr("opaque"), []byte("x"))
}

func (a *applier) overlayAttr(name string) string {
	if a.opt.UserXattr {
		return "user.overlay." + name
	}
	return "trusted.overlay." + name
}

func (a *applier) whiteoutAUFS(up *level, base, name string) error {
	var st unix.Stat_t
	if sys.Fstatat(up.fd, name, &st) == nil {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		return a.hideBeneath(up, name)
	}
	if err := a.touch(up.fd, base); err != nil {
		return err
	}
	a.whiteouts[join(up.real, name)] = struct{}{}
	return nil
}

// unhide removes the whiteout of a name that now exists: aufs would go by the
// whiteout.
func (a *applier) unhide(up *level, name string) (hidden bool, err error) {
	real := join(up.real, name)
	if _, ok := a.whiteouts[real]; !ok {
		return false, nil
	}
	delete(a.whiteouts, real)
	return true, sys.Unlinkat(up.fd, whPrefix+name, 0)
}

func (a *applier) touch(dirfd int, name string) error {
	fd, err := sys.Openat(dirfd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return nil
}

// opaque hides what the layers below have in the directory l.
func (a *applier) opaque(l *level) error {
	l.touched = true
	switch a.opt.Style {
	case Overlay:
		return sys.Fsetxattr(l.fd, a.overlayAttr("opaque"), []byte("y"))
	case AUFS:
		return a.touch(l.fd, whOpaque)
	}
	return a.emptyLower(l.fd, l.real)
}

// deleteLower deletes name but for what this archive made.
func (a *applier) deleteLower(dirfd int, name, real string) error {
	if _, mine := a.mine[real]; !mine {
		a.stale = true
		a.forget(real)
		return tree.RemoveAt(a.ctx, dirfd, name)
	}
	fd, err := a.openDir(dirfd, name, real)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return a.emptyLower(fd, real)
}

func (a *applier) emptyLower(fd int, real string) error {
	// A descriptor of our own: reading moves its position.
	own, err := sys.OpenDirat(fd, ".")
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if a.dents == nil {
		a.dents = make([]byte, 16<<10)
	}
	var all []string
	err = sys.Dirents(own, a.dents, func(name string, _ byte) error { all = append(all, name); return nil })
	for i := 0; i < len(all) && err == nil; i++ {
		err = a.deleteLower(own, all[i], join(real, all[i]))
	}
	return err
}
