package sys

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Futimes sets the times of an open file: utimensat(2) with no path, which
// package unix cannot express.
func Futimes(fd int, atime, mtime unix.Timespec) error {
	ts := [2]unix.Timespec{atime, mtime}
	err := again(func() error {
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return fdErr("futimens", fd, err)
}

// Dirents calls each for every entry of the open directory but "." and "..".
// typ is DT_DIR, DT_REG …, or DT_UNKNOWN where the filesystem does not tell.
// buf is room to read into, 4096 bytes at least.
func Dirents(fd int, buf []byte, each func(name string, typ byte) error) error {
	for {
		var n int
		err := again(func() (err error) { n, err = unix.Getdents(fd, buf); return err })
		if err != nil {
			return fdErr("getdents", fd, err)
		}
		if n <= 0 {
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			// struct linux_dirent64, getdents(2): ino and off are 8 bytes each.
			reclen := int(*(*uint16)(unsafe.Pointer(&b[16])))
			typ := b[18]
			name := b[19:reclen]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			b = b[reclen:]
			if s := string(name); s != "." && s != ".." {
				if err := each(s, typ); err != nil {
					return err
				}
			}
		}
	}
}

// Umask is this process's umask, and all bits where the kernel does not tell
// without changing it (before Linux 4.7). It is read once.
var Umask = sync.OnceValue(func() uint32 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o777
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32); err == nil {
				return uint32(n)
			}
		}
	}
	return 0o777
})

// Syncfs writes all of the filesystem that holds fd to its device; before
// Linux 2.6.39, where the call is missing, all filesystems.
func Syncfs(fd int) error {
	err := again(func() error { return unix.Syncfs(fd) })
	if err == unix.ENOSYS {
		unix.Sync()
		return nil
	}
	return fdErr("syncfs", fd, err)
}

// SyncDir makes the names in a directory durable. A filesystem that cannot is
// not an error.
func SyncDir(path string) error {
	fd, err := Openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = again(func() error { return unix.Fsync(fd) })
	if err == unix.EINVAL || err == unix.ENOTSUP {
		return nil
	}
	return pathErr("fsync", path, err)
}

// ClearInodeFlags takes the immutable and append-only attributes (chattr(1))
// from an open file.
func ClearInodeFlags(fd int) error {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fdErr("FS_IOC_GETFLAGS", fd, err)
	}
	const frozen = 0x10 | 0x20 // FS_IMMUTABLE_FL, FS_APPEND_FL of linux/fs.h
	if flags&frozen == 0 {
		return nil
	}
	return fdErr("FS_IOC_SETFLAGS", fd, unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^frozen))
}

// Spread asks ext2, ext3 and ext4 to put each directory that is made in dir into a
// group of blocks of its own (FS_TOPDIR_FL of linux/fs.h), as they do for the
// directories of a root. Trees that are made at once then do not wait for each
// other's group; and where there is no journal, the kernel does not look at inode
// after inode that was deleted in the last half minute (recently_deleted in
// fs/ext4/ialloc.c), which was most of what unpacking a Debian tree cost.
func Spread(dir string) {
	fd, err := OpenDirat(unix.AT_FDCWD, dir)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil || uint32(st.Type) != unix.EXT4_SUPER_MAGIC {
		return
	}
	const top = 0x20000
	if flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); err == nil && flags&top == 0 {
		unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|top)
	}
}
