package sys

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Fsetxattr sets an extended attribute of an open file.
func Fsetxattr(fd int, attr string, value []byte) error {
	return fdErr("setxattr "+attr, fd, again(func() error { return unix.Fsetxattr(fd, attr, value, 0) }))
}

// Fgetxattr reads an extended attribute of an open file.
func Fgetxattr(fd int, attr string) ([]byte, error) {
	return grow("getxattr "+attr, fdName(fd), func(buf []byte) (int, error) { return unix.Fgetxattr(fd, attr, buf) })
}

// Flistxattr lists the extended attributes of an open file.
func Flistxattr(fd int) ([]string, error) {
	return names(grow("listxattr", fdName(fd), func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) }))
}

// Setxattrat sets an attribute of name itself, which may be a link or a device
// and so cannot be opened. There is no such call before Linux 6.13; /proc does.
func Setxattrat(dirfd int, name, attr string, value []byte) error {
	p := procName(dirfd, name)
	return pathErr("setxattr "+attr, name, again(func() error { return unix.Lsetxattr(p, attr, value, 0) }))
}

// Getxattrat reads an attribute of name itself.
func Getxattrat(dirfd int, name, attr string) ([]byte, error) {
	p := procName(dirfd, name)
	return grow("getxattr "+attr, name, func(buf []byte) (int, error) { return unix.Lgetxattr(p, attr, buf) })
}

// Listxattrat lists the attributes of name itself.
func Listxattrat(dirfd int, name string) ([]string, error) {
	p := procName(dirfd, name)
	return names(grow("listxattr", name, func(buf []byte) (int, error) { return unix.Llistxattr(p, buf) }))
}

// NoXattr tells whether err says that this filesystem, or this user, cannot
// hold the attribute.
func NoXattr(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

func procName(dirfd int, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + name
}

// grow calls read with no room first, which costs one call in the common case
// that there is nothing.
func grow(op, name string, read func([]byte) (int, error)) ([]byte, error) {
	var buf []byte
	for {
		var n int
		err := again(func() (err error) { n, err = read(buf); return err })
		switch {
		case err == unix.ERANGE:
			buf = make([]byte, 2*len(buf)+256)
		case err != nil:
			return nil, pathErr(op, name, err)
		case n > len(buf):
			buf = make([]byte, n)
		default:
			return buf[:n], nil
		}
	}
}

func names(list []byte, err error) ([]string, error) {
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}
