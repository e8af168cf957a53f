package tree

import (
	"path/filepath"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

type inode struct{ dev, ino uint64 }

// Usage is the size in bytes of all files at and below path, as Docker counts it: a
// file with several names once, holes in full, directories not at all.
func Usage(path string) (int64, error) {
	u := &usage{seen: map[inode]struct{}{}, buf: make([]byte, 16<<10)}
	dirfd, err := sys.Openat(unix.AT_FDCWD, filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(dirfd)
	err = u.add(dirfd, filepath.Base(path), 0)
	return u.sum, err
}

type usage struct {
	seen map[inode]struct{}
	buf  []byte
	sum  int64
}

func (u *usage) add(dirfd int, name string, depth int) error {
	var st unix.Stat_t
	if err := sys.Fstatat(dirfd, name, &st); err != nil {
		if isGone(err) {
			return nil // a container may run in there
		}
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{uint64(st.Dev), uint64(st.Ino)}
		if _, dup := u.seen[id]; dup {
			return nil
		}
		u.seen[id] = struct{}{}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		u.sum += st.Size
		return nil
	}
	if depth > 8*maxDepth {
		return nil
	}
	fd, err := sys.OpenDirat(dirfd, name)
	if err != nil {
		if isGone(err) || isDenied(err) {
			return nil
		}
		return err
	}
	defer unix.Close(fd)
	var all []string
	err = sys.Dirents(fd, u.buf, func(name string, _ byte) error { all = append(all, name); return nil })
	if err != nil {
		return err
	}
	for _, name := range all {
		if err := u.add(fd, name, depth+1); err != nil {
			return err
		}
	}
	return nil
}
