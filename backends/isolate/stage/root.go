package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// builder makes the container's root. It enters the root first and mounts then:
// every path that the image could have poisoned with a symbolic link is resolved
// inside the container by the kernel itself. The host's root stays the current
// directory until leaveHost: relative names are the host's, absolute ones the
// container's.
type builder struct {
	c   *Config
	old int // descriptor of the host's root
	// groups are the container's control groups, as the host sees them.
	groups []group
}

func build(c *Config) error {
	b := &builder{c: c}
	if slices.ContainsFunc(c.Spec.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" }) {
		// Now: in a namespace of them their names are not to be had any more.
		var err error
		if b.groups, err = ownGroups("/proc/self"); err != nil {
			return step("find the control groups", err)
		}
	}
	if _, err := os.Lstat("/proc/self/ns/cgroup"); err == nil && hasNamespace(c.Spec, specs.CgroupNamespace) {
		// Before 2.6.38 this bit is CLONE_STOPPED, so the file is asked first. After the monitor has put us into
		// our groups: they become the namespace's root.
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return step("unshare cgroup namespace", err)
		}
	}
	if err := b.enterRoot(); err != nil {
		return err
	}
	for i := range c.Spec.Mounts {
		m := &c.Spec.Mounts[i]
		if err := b.mount(m); err != nil {
			return step("mount "+m.Destination, err)
		}
	}
	if err := b.devices(); err != nil {
		return err
	}
	if err := b.identity(); err != nil {
		return err
	}
	if err := b.cover(); err != nil {
		return err
	}
	return b.leaveHost()
}

func hasNamespace(s *specs.Spec, t specs.LinuxNamespaceType) bool {
	if s.Linux == nil {
		return false
	}
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == t && ns.Path == "" {
			return true
		}
	}
	return false
}

// enterRoot mounts the root filesystem and makes it ours.
func (b *builder) enterRoot() error {
	root := b.c.Spec.Root.Path
	if b.c.PrivateMounts {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return step("make mounts slaves", err)
		}
	}
	for _, m := range b.c.RootMounts {
		if err := mountRoot(m, root); err != nil {
			return step("mount root filesystem ("+m.Type+")", err)
		}
	}
	if len(b.c.RootMounts) == 0 && (b.c.PrivateMounts || b.c.Spec.Root.Readonly) {
		// pivot_root wants a mount point, and so does being read-only.
		if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return step("bind "+root, err)
		}
	}
	var err error
	if b.old, err = unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return step("open /", err)
	}
	if err := unix.Chdir(root); err != nil {
		return step("chdir "+root, err)
	}
	if !b.c.PrivateMounts {
		if err := unix.Chroot("."); err != nil {
			return step("chroot "+root, err)
		}
	} else if err := pivot(); err != nil {
		return err
	}
	return step("chdir to the host's root", unix.Fchdir(b.old))
}

// pivot makes the current directory the root. With "." twice the old root ends
// up mounted over the new one, out of the way (pivot_root(2)).
func pivot() error {
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) {
		// The initial rootfs of an initramfs cannot be pivoted.
		if err = unix.Mount(".", "/", "", unix.MS_MOVE, ""); err == nil {
			err = unix.Chroot(".")
		}
	}
	return step("pivot_root", err)
}

func mountRoot(m specs.Mount, root string) error {
	o := parseOptions(m.Options)
	if o.chdir != "" {
		if err := unix.Chdir(o.chdir); err != nil {
			return err
		}
		defer unix.Chdir("/")
	}
	if err := unix.Mount(m.Source, root, m.Type, o.flags&^remountOnly(o.flags), o.data); err != nil {
		return err
	}
	if o.flags&unix.MS_BIND != 0 {
		return remountBind(root, o.flags)
	}
	return nil
}

// leaveHost drops the host's mounts, which until now lay over our root, and
// makes the root read-only when it is to be.
func (b *builder) leaveHost() error {
	if b.c.PrivateMounts {
		// From the descriptor: "/" is the new root.
		if err := unix.Fchdir(b.old); err != nil {
			return step("chdir to the old root", err)
		}
		// EINVAL: the initial rootfs, which cannot be unmounted and which
		// nobody can reach without CAP_SYS_CHROOT.
		if err := unix.Unmount(".", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return step("unmount the old root", err)
		}
	}
	unix.Close(b.old)
	if err := unix.Chdir("/"); err != nil {
		return step("chdir /", err)
	}
	if b.c.Spec.Root.Readonly {
		if err := remountBind("/", unix.MS_RDONLY); err != nil {
			return step("make root read-only", err)
		}
	}
	return b.propagation()
}

// propagation sets what the spec asks for; private is what Docker does.
func (b *builder) propagation() error {
	if !b.c.PrivateMounts || b.c.Spec.Linux == nil {
		return nil
	}
	flags := uintptr(unix.MS_REC | unix.MS_PRIVATE)
	switch b.c.Spec.Linux.RootfsPropagation {
	case "slave", "rslave":
		flags = unix.MS_REC | unix.MS_SLAVE
	case "shared", "rshared":
		flags = unix.MS_REC | unix.MS_SHARED
	case "":
		return nil // each mount has its own
	}
	return step("propagation", unix.Mount("", "/", "", flags, ""))
}

// mount makes one mount of the spec.
func (b *builder) mount(m *specs.Mount) error {
	o := parseOptions(m.Options)
	if m.Type == "cgroup" {
		return b.mountCgroup(m, o)
	}
	if m.Type == "bind" || o.flags&unix.MS_BIND != 0 {
		return b.bind(m, o)
	}
	want := asDir
	if m.Type == "proc" || m.Type == "sysfs" {
		// What hides paths in them must find them at their own names.
		want = plainDir
	}
	err := b.at(m.Destination, want, func(place string) error {
		if o.chdir != "" {
			return b.union(m, o, place)
		}
		err := unix.Mount(m.Source, place, m.Type, o.flags, o.data)
		if errors.Is(err, unix.EINVAL) && m.Type == "devpts" {
			// gid=5 may not be mapped in a user namespace.
			err = unix.Mount(m.Source, place, m.Type, o.flags, dropOption(o.data, "gid="))
		}
		return err
	})
	if err != nil {
		err = b.instead(m, o, err)
	}
	if err != nil {
		return err
	}
	if len(o.register) > 0 {
		if err := b.register(m.Destination, o); err != nil {
			return err
		}
	}
	return b.setPropagation(m.Destination, o.propagation)
}

// register writes the handlers of a binfmt_misc of the container's own. Their
// emulators are named relative to the host's root, in which we are then, and the
// kernel opens them now (flag F). After that the mount is read-only, for the
// container is not to add to them.
func (b *builder) register(path string, o options) error {
	err := b.at(path, asFound, func(place string) error {
		for _, line := range o.register {
			f, err := os.OpenFile(place+"/register", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(line)
			f.Close()
			if err != nil {
				return fmt.Errorf("register a binfmt_misc handler: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.remount(path, unix.MS_RDONLY|o.flags)
}

// instead mounts what comes nearest where the kernel refuses a filesystem.
func (b *builder) instead(m *specs.Mount, o options, err error) error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EBUSY)
	switch {
	case denied && m.Type == "sysfs":
		// A network namespace that is not this user namespace's.
		bind := specs.Mount{Destination: m.Destination, Source: "/sys", Type: "bind", Options: []string{"rbind", "ro", "nosuid", "noexec", "nodev"}}
		return b.bind(&bind, parseOptions(bind.Options))
	case denied && m.Type == "proc" && b.c.UserNS:
		bind := specs.Mount{Destination: m.Destination, Source: "/proc", Type: "bind", Options: []string{"rbind"}}
		return b.bind(&bind, parseOptions(bind.Options))
	case denied && m.Type == "mqueue":
		tell(message{Warn: "no /dev/mqueue: " + err.Error()})
		return nil
	}
	return err
}

// union mounts what names its directories relative to one of the host's.
func (b *builder) union(m *specs.Mount, o options, place string) error {
	if err := unix.Chdir(hostPath(o.chdir)); err != nil {
		return err
	}
	defer unix.Fchdir(b.old)
	// The place by the host's /proc, which lies outside of that directory.
	up := strings.Repeat("../", strings.Count(filepath.Clean(o.chdir), "/"))
	return unix.Mount(m.Source, up+place, m.Type, o.flags, o.data)
}

// hostPath is a path of the host relative to its root, in which we are.
func hostPath(path string) string {
	path = strings.TrimLeft(filepath.Clean("/"+path), "/")
	if path == "" {
		return "."
	}
	return path
}

// bind binds a file or directory of the host.
func (b *builder) bind(m *specs.Mount, o options) error {
	source := hostPath(m.Source)
	if o.subpath != "" {
		// No link in it leads out: what is in a volume is a container's work.
		root, err := os.OpenRoot(source)
		if err != nil {
			return err
		}
		defer root.Close()
		part, err := root.Open(o.subpath)
		if err != nil {
			return step("mount "+m.Destination+": subpath "+o.subpath, err)
		}
		defer part.Close()
		source = "proc/self/fd/" + itoa(int(part.Fd()))
	}
	want := asFile
	st, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("bind source %s: %w", m.Source, err)
	}
	if st.IsDir() {
		want = asDir
	}
	err = b.at(m.Destination, want, func(place string) error {
		if o.tree > 0 {
			// place ends in a link of /proc, which is to be followed.
			tree := b.c.FirstTree + o.tree - 1
			defer unix.Close(tree)
			return unix.MoveMount(tree, "", unix.AT_FDCWD, place, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
		}
		return unix.Mount(source, place, "", unix.MS_BIND|o.flags&unix.MS_REC, "")
	})
	if err != nil {
		return err
	}
	if err := b.remount(m.Destination, o.flags); err != nil {
		return err
	}
	if o.recursive {
		if err := b.readOnlyBelow(m.Destination); err != nil && o.must {
			return fmt.Errorf("make it read-only with all that is mounted below: %w", err)
		}
	}
	return b.setPropagation(m.Destination, o.propagation)
}

// readOnlyBelow makes a mount read-only with those below it (5.12).
func (b *builder) readOnlyBelow(path string) error {
	return b.at(path, asFound, func(place string) error {
		return unix.MountSetattr(unix.AT_FDCWD, place, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	})
}

// remount gives the bind mount at path its flags.
func (b *builder) remount(path string, flags uintptr) error {
	return b.at(path, asFound, func(place string) error { return remountBind(place, flags) })
}

// remountBind gives a bind mount its own flags, and keeps those that a user
// namespace may not clear.
func remountBind(path string, flags uintptr) error {
	want := flags & (unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if want == 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|want|sys.LockedFlags(int64(st.Flags)), "")
}

// remountOnly are the flags that mount(2) ignores when it binds.
func remountOnly(flags uintptr) uintptr {
	if flags&unix.MS_BIND == 0 {
		return 0
	}
	return unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
}

func (b *builder) setPropagation(path string, flags []uintptr) error {
	if len(flags) == 0 {
		return nil
	}
	return b.at(path, asFound, func(place string) error {
		for _, f := range flags {
			if f&unix.MS_SHARED != 0 && !b.c.PrivateMounts {
				// In the host's own table: that this mount, and what is below it, is
				// undone again must not reach what it is a copy of.
				f = f&unix.MS_REC | unix.MS_SLAVE
			}
			if err := unix.Mount("", place, "", f, ""); err != nil {
				return err
			}
		}
		return nil
	})
}
