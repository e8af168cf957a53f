package stage

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kind says what a path in the container is to be, and whether it is made.
type kind int

const (
	asDir    kind = iota // a directory, made where it is missing
	asFile               // a file, made where it is missing
	plainDir             // a directory that no symbolic link leads to
	asFound              // whatever is there; nothing is made
)

// maxLinks is the kernel's own bound (path_resolution(7)).
const maxLinks = 40

// walk finds path inside the container's root and returns a descriptor of it.
//
// It reads symbolic links itself, one component after the other, and never lets
// the kernel follow one: those of /proc (cwd, fd/N) would lead to the host's
// files, of which we still hold a directory, and an image may hold links through
// them. O_PATH is ignored before 2.6.39, where a plain open results.
func walk(path string, want kind) (int, error) {
	if fd, err := straight(path, want); err == nil {
		return fd, nil
	}
	const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	stack := []int{root}
	top := func() int { return stack[len(stack)-1] }
	pop := func(to int) {
		for len(stack) > to {
			unix.Close(top())
			stack = stack[:len(stack)-1]
		}
	}
	links, rest := 0, split(path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			pop(max(1, len(stack)-1))
			continue
		}
		link, err := readlinkat(top(), name)
		if err == nil {
			if links++; links > maxLinks || want == plainDir {
				pop(0)
				return -1, unix.ELOOP
			}
			if strings.HasPrefix(link, "/") {
				pop(1)
			}
			rest = append(split(link), rest...)
			continue
		}
		flags := dirFlags
		if len(rest) == 0 && (want == asFile || want == asFound) {
			// Not to hang on a FIFO where O_PATH is ignored.
			flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
		}
		fd, err := openOrMake(top(), name, flags, want, len(rest) == 0)
		if err != nil {
			pop(0)
			return -1, err
		}
		stack = append(stack, fd)
	}
	fd := top()
	stack = stack[:len(stack)-1]
	pop(0)
	return fd, nil
}

// straight finds what is there and has no symbolic link on its way, by one call
// (openat2, 5.6). Whatever else there is, its error or not, walk takes its time
// over: ".." above all, which at our root would step into the host's, mounted
// over it.
func straight(path string, want kind) (int, error) {
	names := split(path)
	if slices.Contains(names, "..") {
		return -1, unix.ELOOP
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if want == asDir || want == plainDir {
		how.Flags |= unix.O_DIRECTORY
	}
	return unix.Openat2(unix.AT_FDCWD, "/"+strings.Join(names, "/"), &how)
}

func openOrMake(dir int, name string, flags int, want kind, last bool) (int, error) {
	fd, err := unix.Openat(dir, name, flags, 0)
	if !errors.Is(err, unix.ENOENT) || want == asFound {
		return fd, err
	}
	if last && want == asFile {
		made, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return -1, err
		}
		unix.Close(made)
	} else if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return unix.Openat(dir, name, flags, 0)
}

func split(path string) []string {
	var names []string
	for _, name := range strings.Split(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

func readlinkat(dir int, name string) (string, error) {
	var buf [4096]byte
	n, err := unix.Readlinkat(dir, name, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// at runs f with the place of path, as a name that leads to exactly what walk
// found. The name goes through the host's /proc: the container may have none yet.
func (b *builder) at(path string, want kind, f func(place string) error) error {
	fd, err := walk(path, want)
	if errors.Is(err, unix.ENXIO) {
		return unopened(path, f)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f("proc/self/fd/" + strconv.Itoa(fd))
}

// unopened is at for a socket, of which only O_PATH makes a descriptor: its name
// in its directory, as it is no symbolic link.
func unopened(path string, f func(place string) error) error {
	return within(path, func(dir int, name string) error {
		if _, err := readlinkat(dir, name); err == nil {
			return unix.ELOOP
		}
		return f("proc/self/fd/" + strconv.Itoa(dir) + "/" + name)
	})
}

// within runs f with a descriptor of the directory that holds path, and path's
// last name.
func within(path string, f func(dir int, name string) error) error {
	names := split(path)
	if len(names) == 0 {
		return unix.EINVAL
	}
	last := len(names) - 1
	dir, err := walk(strings.Join(names[:last], "/"), asDir)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return f(dir, names[last])
}

// symlink makes a symbolic link; one that is there, or a read-only place, is fine.
func symlink(to, path string) error {
	err := within(path, func(dir int, name string) error { return unix.Symlinkat(to, dir, name) })
	if errors.Is(err, os.ErrExist) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}
