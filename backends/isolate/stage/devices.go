package stage

import (
	"errors"
	"os"
	"sort"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices fills /dev.
func (b *builder) devices() error {
	for _, d := range b.c.Spec.Linux.Devices {
		if err := b.device(&d); err != nil {
			return step("device "+d.Path, err)
		}
	}
	for _, link := range [...][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"},
		{"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
		{"pts/ptmx", "/dev/ptmx"},
	} {
		if err := symlink(link[0], link[1]); err != nil {
			return step("link "+link[1], err)
		}
	}
	return nil
}

func (b *builder) device(d *specs.LinuxDevice) error {
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	kind := uint32(unix.S_IFCHR)
	switch d.Type {
	case "b":
		kind = unix.S_IFBLK
	case "p":
		kind = unix.S_IFIFO
	}
	err := error(unix.EPERM)
	if !b.c.UserNS {
		err = within(d.Path, func(dir int, name string) error { return makeNode(dir, name, kind, mode, d) })
	}
	if errors.Is(err, unix.EPERM) {
		m := specs.Mount{Destination: d.Path, Source: d.Path, Type: "bind"}
		return b.bind(&m, options{})
	}
	return err
}

// makeNode makes a device node. What the image has in its place is replaced,
// unless it is that very device: a link there could be taken for /dev/null when
// paths are hidden (CVE-2025-31133).
func makeNode(dir int, name string, kind, mode uint32, d *specs.LinuxDevice) error {
	rdev := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	err := unix.Mknodat(dir, name, kind|mode, int(rdev))
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == kind && (kind == unix.S_IFIFO || uint64(st.Rdev) == rdev) {
			return nil
		}
		if err := unix.Unlinkat(dir, name, 0); err != nil {
			return err
		}
		err = unix.Mknodat(dir, name, kind|mode, int(rdev))
	}
	if err != nil {
		return err
	}
	// The umask has taken some away.
	if err := unix.Fchmodat(dir, name, mode, 0); err != nil || d.UID == nil || d.GID == nil {
		return err
	}
	return unix.Fchownat(dir, name, int(*d.UID), int(*d.GID), unix.AT_SYMLINK_NOFOLLOW)
}

// identity sets the names and the kernel settings of the namespaces.
func (b *builder) identity() error {
	s := b.c.Spec
	if b.c.Loopback {
		if err := loopbackUp(); err != nil {
			return step("bring up the loopback interface", err)
		}
	}
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return step("set host name", err)
		}
	}
	if s.Domainname != "" {
		if err := unix.Setdomainname([]byte(s.Domainname)); err != nil {
			return step("set domain name", err)
		}
	}
	for _, key := range sortedKeys(s.Linux.Sysctl) {
		path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		if err := os.WriteFile(path, []byte(s.Linux.Sysctl[key]), 0); err != nil {
			return step("sysctl "+key, err)
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// cover makes parts of /proc and /sys read-only, or hides them.
func (b *builder) cover() error {
	if err := b.procIsProc(); err != nil {
		return err
	}
	for _, path := range b.c.Spec.Linux.ReadonlyPaths {
		err := b.at(path, asFound, func(place string) error {
			return unix.Mount(place, place, "", unix.MS_BIND|unix.MS_REC, "")
		})
		if absent(err) {
			continue
		}
		if err == nil {
			err = b.remount(path, unix.MS_RDONLY)
		}
		if err != nil {
			return step("make "+path+" read-only", err)
		}
	}
	for _, path := range b.c.Spec.Linux.MaskedPaths {
		if err := b.at(path, asFound, mask); err != nil && !absent(err) {
			return step("hide "+path, err)
		}
	}
	return nil
}

func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// procIsProc refuses a container in which a volume lies over /proc: it would
// undo what cover does, and fake what tools read there (CVE-2019-16884).
func (b *builder) procIsProc() error {
	for i := range b.c.Spec.Mounts {
		if m := &b.c.Spec.Mounts[i]; m.Type != "proc" || m.Destination != "/proc" {
			continue
		}
		var st unix.Statfs_t
		if err := unix.Statfs("/proc", &st); err != nil {
			return step("statfs /proc", err)
		}
		if st.Type != unix.PROC_SUPER_MAGIC {
			return step("mount over /proc", errors.New("another filesystem lies over it"))
		}
		return nil
	}
	return nil
}

// mask lays the host's /dev/null over a file (the container's own may be
// something else) and an empty read-only filesystem over a directory.
func mask(place string) error {
	err := unix.Mount("dev/null", place, "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.Mount("tmpfs", place, "tmpfs", unix.MS_RDONLY, "size=0k,nr_inodes=2")
	}
	return err
}

// loopbackUp brings lo up: SIOCSIFFLAGS works on every kernel.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
