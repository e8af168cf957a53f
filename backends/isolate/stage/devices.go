package stage

import (
	"errors"
	"os"
	"path/filepath"
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
		err := os.Symlink(link[0], link[1])
		if err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EROFS) {
			return step("link "+link[1], err)
		}
	}
	return nil
}

func (b *builder) device(d *specs.LinuxDevice) error {
	if err := os.MkdirAll(filepath.Dir(d.Path), 0o755); err != nil {
		return err
	}
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
		err = unix.Mknod(d.Path, kind|mode, int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
	}
	switch {
	case err == nil:
		if err := unix.Chmod(d.Path, mode); err != nil {
			return err
		}
		if d.UID != nil && d.GID != nil {
			return unix.Chown(d.Path, int(*d.UID), int(*d.GID))
		}
		return nil
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EPERM):
		m := specs.Mount{Destination: d.Path, Source: d.Path, Type: "bind"}
		return b.bind(&m, options{})
	}
	return err
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
	for _, path := range b.c.Spec.Linux.ReadonlyPaths {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = remountBind(path, unix.MS_RDONLY)
		}
		if err != nil {
			return step("make "+path+" read-only", err)
		}
	}
	for _, path := range b.c.Spec.Linux.MaskedPaths {
		if err := mask(path); err != nil {
			return step("hide "+path, err)
		}
	}
	return nil
}

// mask lays /dev/null over a file and an empty read-only filesystem over a
// directory.
func mask(path string) error {
	err := unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "size=0k,nr_inodes=2")
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
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
