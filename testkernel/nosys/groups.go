package nosys

import (
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// withoutGroups takes mounts of control groups away, in a mount namespace of our
// own: all of version 2, controllers that are hidden, and all below a directory
// that is.
func withoutGroups(c Config, hide []unseen) {
	if os.Geteuid() != 0 {
		return
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return !unseenGroup(m, hide), false })
	if err != nil || len(mounts) == 0 {
		return
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		c.Trace("not withheld: control groups: %v", os.NewSyscallError("unshare", err))
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		c.Trace("not withheld: control groups: make / slave: %v", err)
		return
	}
	// What stands on another mount goes first.
	slices.Reverse(mounts)
	for _, m := range mounts {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil {
			c.Trace("not withheld: %s at %s: %v", m.FSType, m.Mountpoint, err)
			continue
		}
		c.Trace("withheld: %s at %s, unmounted", m.FSType, m.Mountpoint)
	}
}

// unseenGroup tells whether m is a mount of control groups that hide hides.
func unseenGroup(m *mountinfo.Info, hide []unseen) bool {
	return slices.ContainsFunc(hide, func(u unseen) bool {
		switch u.kind {
		case "fs":
			return u.name == "cgroup2" && m.FSType == "cgroup2"
		case "controller":
			return m.FSType == "cgroup" && slices.Contains(strings.Split(m.VFSOptions, ","), u.name)
		case "path":
			return strings.HasPrefix(u.name, "/sys/fs/cgroup") && match(u.name, m.Mountpoint)
		}
		return false
	})
}
