package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The calls below name a file by a directory's descriptor and a name, so that
// nobody who swaps a directory for a symbolic link can lead them astray.

// again repeats f as long as a signal interrupts it: package unix does not,
// and slow filesystems (NFS, FUSE) do answer EINTR.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// Openat opens name below dirfd, close-on-exec.
func Openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// OpenDirat opens the directory name below dirfd for reading and as a base of
// other calls. A symbolic link is ELOOP or ENOTDIR.
func OpenDirat(dirfd int, name string) (int, error) {
	return Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// Mkdirat makes a directory.
func Mkdirat(dirfd int, name string, mode uint32) error {
	return pathErr("mkdir", name, again(func() error { return unix.Mkdirat(dirfd, name, mode) }))
}

// Unlinkat removes a name; flags as of unlinkat(2).
func Unlinkat(dirfd int, name string, flags int) error {
	return pathErr("unlink", name, again(func() error { return unix.Unlinkat(dirfd, name, flags) }))
}

// Renameat renames a file.
func Renameat(olddir int, oldname string, newdir int, newname string) error {
	return pathErr("rename", oldname, again(func() error { return unix.Renameat(olddir, oldname, newdir, newname) }))
}

// Linkat makes a hard link; a symbolic link is linked itself.
func Linkat(olddir int, oldname string, newdir int, newname string) error {
	return pathErr("link", newname, again(func() error { return unix.Linkat(olddir, oldname, newdir, newname, 0) }))
}

// Symlinkat makes a symbolic link to target.
func Symlinkat(target string, dirfd int, name string) error {
	return pathErr("symlink", name, again(func() error { return unix.Symlinkat(target, dirfd, name) }))
}

// Readlinkat reads a symbolic link.
func Readlinkat(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		var n int
		err := again(func() (err error) { n, err = unix.Readlinkat(dirfd, name, buf); return err })
		if err != nil {
			return "", pathErr("readlink", name, err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// Mknodat makes a device node, fifo or socket. dev is as unix.Mkdev makes it,
// of which the kernel takes 32 bits.
func Mknodat(dirfd int, name string, mode uint32, dev uint64) error {
	if dev>>32 != 0 {
		return pathErr("mknod", name, unix.EINVAL)
	}
	return pathErr("mknod", name, again(func() error { return unix.Mknodat(dirfd, name, mode, int(uint32(dev))) }))
}

// Fstatat describes name itself, never what it links to.
func Fstatat(dirfd int, name string, st *unix.Stat_t) error {
	return pathErr("lstat", name, again(func() error { return unix.Fstatat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW) }))
}

// Fstat describes an open file.
func Fstat(fd int, st *unix.Stat_t) error {
	return fdErr("fstat", fd, again(func() error { return unix.Fstat(fd, st) }))
}

// Fchownat gives name itself to uid and gid.
func Fchownat(dirfd int, name string, uid, gid int) error {
	return pathErr("lchown", name, again(func() error { return unix.Fchownat(dirfd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) }))
}

// Fchown gives an open file to uid and gid.
func Fchown(fd, uid, gid int) error {
	return fdErr("fchown", fd, again(func() error { return unix.Fchown(fd, uid, gid) }))
}

// Fchmod sets the mode of an open file.
func Fchmod(fd int, mode uint32) error {
	return fdErr("fchmod", fd, again(func() error { return unix.Fchmod(fd, mode) }))
}

// ChmodNoFollow sets the mode of name and never of what it links to, of a file
// that cannot be opened too. fchmodat(2) has no flag for that before
// fchmodat2 (Linux 6.6); below it a descriptor made with O_PATH pins the file
// and chmod goes by /proc/self/fd. Where neither exists, name is looked at
// first, which someone who writes to the directory could outrun.
func ChmodNoFollow(dirfd int, name string, mode uint32) error {
	err := unix.Fchmodat(dirfd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil || (err != unix.EOPNOTSUPP && err != unix.ENOSYS && err != unix.EPERM) {
		return pathErr("chmod", name, err)
	}
	return chmodByPath(dirfd, name, mode)
}

func chmodByPath(dirfd int, name string, mode uint32) error {
	var st unix.Stat_t
	if fd, err := Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW, 0); err == nil {
		defer unix.Close(fd)
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			err = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
			if err != unix.ENOENT {
				return pathErr("chmod", name, err)
			}
		}
	}
	if err := Fstatat(dirfd, name, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return pathErr("chmod", name, unix.ELOOP)
	}
	return pathErr("chmod", name, again(func() error { return unix.Fchmodat(dirfd, name, mode, 0) }))
}

// UtimesAt sets the times of name itself.
func UtimesAt(dirfd int, name string, atime, mtime unix.Timespec) error {
	ts := [2]unix.Timespec{atime, mtime}
	return pathErr("utimensat", name, again(func() error {
		return unix.UtimesNanoAt(dirfd, name, ts[:], unix.AT_SYMLINK_NOFOLLOW)
	}))
}

// fdErr is pathErr for an open file.
func fdErr(op string, fd int, err error) error {
	if err == nil {
		return nil
	}
	return pathErr(op, fdName(fd), err)
}

func fdName(fd int) string { return "fd " + strconv.Itoa(fd) }
