package cgroup1

import (
	"path/filepath"

	"coracle/backends/limits"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

var _ limits.Doors = (*group)(nil)

// Doors opens tasks, which takes one thread, in every hierarchy.
func (g *group) Doors() (fds []int, err error) {
	for _, p := range g.paths() {
		fd, err := sys.Openat(unix.AT_FDCWD, filepath.Join(p.path, "tasks"), unix.O_WRONLY, 0)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}
