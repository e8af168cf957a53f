package limitstest

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unmount takes down the controllers that coracle has mounted below its run
// directory on a machine that has mounted none: else they stay until it ends.
func Unmount(run string) {
	groups, _ := filepath.Glob(filepath.Join(run, "cgroup", "*"))
	for _, g := range groups {
		_ = unix.Unmount(g, unix.MNT_DETACH)
	}
}
