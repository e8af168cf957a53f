// Package cgfile reads and writes the files of control groups, v1 and v2
// alike: values, lists of processes, trees of groups. It knows no controller.
package cgfile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Parent is the group below our own in which containers' groups are made.
const Parent = "coracle"

// WriteError is a value that a control file did not take.
type WriteError struct {
	Path, Value string
	Err         error
}

func (e *WriteError) Error() string {
	return fmt.Sprintf("write %q to %s: %v", e.Value, e.Path, e.Err)
}

func (e *WriteError) Unwrap() error { return e.Err }

// Write writes value to dir/file in one write(2), as control files want it.
func Write(dir, file, value string) error {
	p := filepath.Join(dir, file)
	fd, err := open(p, unix.O_WRONLY)
	if err != nil {
		return &WriteError{p, value, err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		// EINTR happens: a signal while memory is reclaimed for a lower limit.
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return &WriteError{p, value, err}
	}
	return nil
}

// open keeps the runtime's poller away: registering a control file in epoll
// costs two more system calls.
func open(p string, flags int) (int, error) {
	for {
		fd, err := unix.Open(p, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// Read returns dir/file without the newline at its end.
func Read(dir, file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimRight(string(b), "\n"), err
}

// Uint reads a file of one number. "max" is 0, as are numbers too large to be
// a limit anyone has set.
func Uint(dir, file string) (uint64, error) {
	s, err := Read(dir, file)
	if err != nil {
		return 0, err
	}
	if s == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Join(dir, file), err)
	}
	return n, nil
}

// Key returns the number after "key " in a file of such lines.
func Key(dir, file, key string) (uint64, bool) {
	s, err := Read(dir, file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(s) {
		w := strings.Fields(line)
		if len(w) == 2 && w[0] == key {
			n, err := strconv.ParseUint(w[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// Numbers appends the numbers in dir/file, one a line, to dst.
func Numbers(dst []int, dir, file string) ([]int, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return dst, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// 0 is a process of another PID namespace, which we cannot name.
		if n, err := strconv.Atoi(sc.Text()); err == nil && n > 0 {
			dst = append(dst, n)
		}
	}
	if err := sc.Err(); err != nil {
		return dst, &os.PathError{Op: "read", Path: f.Name(), Err: errnoOf(err)}
	}
	return dst, nil
}

func errnoOf(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// Tree lists dir and all groups below it, the deepest last. A group that goes
// away meanwhile is left out.
func Tree(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p != dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// Procs lists the processes of dir and of all groups below it, each once.
func Procs(dir, file string) ([]int, error) {
	groups, err := Tree(dir)
	if err != nil {
		return nil, err
	}
	var all []int
	for i, g := range groups {
		all, err = Numbers(all, g, file)
		// A group below may go at any time; one in threaded mode answers
		// EOPNOTSUPP and has its processes listed in the group above.
		if err != nil && (i == 0 || !gone(err) && !errors.Is(err, unix.EOPNOTSUPP)) {
			return nil, err
		}
	}
	seen := make(map[int]bool, len(all))
	out := all[:0]
	for _, pid := range all {
		if !seen[pid] {
			seen[pid] = true
			out = append(out, pid)
		}
	}
	return out, nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// Remove deletes dir and all groups below it, and waits a while for the last
// processes to leave: the kernel takes a dead one out only when it has gone
// through its exit. An absent dir is no error.
func Remove(dir string) error {
	pause := time.Millisecond
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := removeOnce(dir)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func removeOnce(dir string) error {
	err := rmdir(dir)
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	groups, terr := Tree(dir)
	if terr != nil {
		if errors.Is(terr, fs.ErrNotExist) {
			return nil
		}
		return terr
	}
	for i := len(groups) - 1; i >= 0; i-- {
		if rerr := rmdir(groups[i]); rerr != nil {
			return rerr
		}
	}
	return nil
}

func rmdir(dir string) error {
	err := unix.Rmdir(dir)
	for errors.Is(err, unix.EINTR) {
		err = unix.Rmdir(dir)
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: dir, Err: err}
}

// NameError is an id or a parent that is no name of a group.
type NameError struct{ Name, Why string }

func (e *NameError) Error() string { return fmt.Sprintf("invalid cgroup %q: %s", e.Name, e.Why) }

// Name returns the path of the group of container id. With an absolute parent,
// or a relative one, which Docker takes as absolute too, it is from the root
// of the hierarchy; with none it is below our own group and own is true.
func Name(id, parent string) (name string, own bool, err error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\n\x00") {
		return "", false, &NameError{id, "not a container's ID"}
	}
	if parent == "" {
		return Parent + "/" + id, true, nil
	}
	if strings.ContainsAny(parent, "\n\x00") {
		return "", false, &NameError{parent, "unprintable"}
	}
	for w := range strings.SplitSeq(parent, "/") {
		if w == ".." {
			return "", false, &NameError{parent, `".." leads out of the parent`}
		}
	}
	if strings.HasSuffix(parent, ".slice") {
		return "", false, &NameError{parent, "slices are systemd's, groups here are made directly"}
	}
	clean := strings.TrimPrefix(path.Clean("/"+parent), "/")
	return path.Join(clean, id), false, nil
}
