package volume

import (
	"fmt"
	"path/filepath"
	"strings"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/sys/mountinfo"
)

// Propagates refuses binds that are to share mounts with the host, or to get them
// from it, of a source on a mount that does not tell others of its mounts.
func Propagates(list []record.Mount) error {
	for _, m := range list {
		if m.Type != mount.TypeBind {
			continue
		}
		var err error
		switch m.Propagation {
		case mount.PropagationShared, mount.PropagationRShared:
			err = passesOn(m.Source, "a shared mount", "shared:")
		case mount.PropagationSlave, mount.PropagationRSlave:
			err = passesOn(m.Source, "a shared or slave mount", "shared:", "master:")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passesOn looks at the mount that holds path for one of the fields that
// proc_pid_mountinfo(5) has for propagation. The errors are Docker's.
func passesOn(path, want string, fields ...string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(real))
	if err != nil {
		return err
	}
	var holds *mountinfo.Info
	for _, m := range mounts {
		// Of several at one place the last lies on top.
		if holds == nil || len(m.Mountpoint) >= len(holds.Mountpoint) {
			holds = m
		}
	}
	if holds == nil {
		return fmt.Errorf("could not find source mount of %s", path)
	}
	for _, f := range strings.Fields(holds.Optional) {
		for _, want := range fields {
			if strings.HasPrefix(f, want) {
				return nil
			}
		}
	}
	return fmt.Errorf("path %s is mounted on %s but it is not %s", path, holds.Mountpoint, want)
}
