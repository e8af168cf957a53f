package machine

import (
	"errors"
	"os"

	"coracle/engine/record"
	"coracle/engine/spec"

	"golang.org/x/sys/unix"
)

// MakeShm makes the /dev/shm of a container that lets others share it. It is on
// the host, where the others can reach it; without root it is a directory, and
// as large as the filesystem of RunDir.
func (m *Machine) MakeShm(c *record.Container) error {
	if !c.HostConfig.IpcMode.IsShareable() {
		return nil
	}
	if err := DropShm(c); err != nil {
		return err
	}
	dir := spec.ShmDir(c.RunDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if !spec.UserNS(c.Drivers.Isolation) {
		if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, spec.ShmMount(c.HostConfig.ShmSize)); err != nil {
			return &os.PathError{Op: "mount", Path: dir, Err: err}
		}
		return nil
	}
	return os.Chmod(dir, 0o777|os.ModeSticky)
}

// DropShm undoes MakeShm; nothing to undo is no error.
func DropShm(c *record.Container) error {
	if !c.HostConfig.IpcMode.IsShareable() || spec.UserNS(c.Drivers.Isolation) {
		return nil
	}
	dir := spec.ShmDir(c.RunDir)
	for {
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
			continue // one lay on another
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT):
			return nil
		}
		return &os.PathError{Op: "umount", Path: dir, Err: err}
	}
}
