package tree

import (
	"errors"
	"os"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// MakeRoot makes an empty root directory, of mode 0755 whatever the umask is.
func MakeRoot(root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	// A default ACL of the state directory would be handed down to every file.
	err := unix.Removexattr(root, "system.posix_acl_default")
	if err != nil && !sys.NoXattr(err) && !errors.Is(err, unix.ENODATA) {
		return &os.PathError{Op: "removexattr", Path: root, Err: err}
	}
	return os.Chmod(root, 0o755)
}

// Like gives directory dst the mode of directory src and, with owner, its owner.
func Like(dst, src string, owner bool) error {
	var st unix.Stat_t
	if err := unix.Stat(src, &st); err != nil {
		return &os.PathError{Op: "stat", Path: src, Err: err}
	}
	if owner {
		if err := os.Chown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: dst, Err: err}
	}
	return nil
}

// Sync writes all that the filesystem of dir holds to its device: one call,
// where an fsync for each file would cost a disk's turn each.
func Sync(dir string) error {
	fd, err := sys.OpenDirat(unix.AT_FDCWD, dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return sys.Syncfs(fd)
}
