package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Devices are the nodes that every container has. Besides them the second
// stage makes /dev/ptmx a symlink to pts/ptmx, /dev/console from the terminal
// where there is one, and fd, stdin, stdout, stderr as symlinks.
func Devices() []specs.LinuxDevice {
	mode := os.FileMode(0o666)
	id := uint32(0)
	dev := func(path string, major, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Path: path, Type: "c", Major: major, Minor: minor, FileMode: &mode, UID: &id, GID: &id}
	}
	return []specs.LinuxDevice{
		dev("/dev/null", 1, 3),
		dev("/dev/zero", 1, 5),
		dev("/dev/full", 1, 7),
		dev("/dev/random", 1, 8),
		dev("/dev/urandom", 1, 9),
		dev("/dev/tty", 5, 0),
	}
}

// DeviceRules are the rules for the devices group, in order: nothing, but any
// node may be made, and the ones of [Devices], the console, ptmx and the
// slaves of pseudo-terminals be used. A privileged container may use all.
func DeviceRules(privileged bool) []specs.LinuxDeviceCgroup {
	if privileged {
		return []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	}
	rule := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if major >= 0 {
			r.Major = &major
		}
		if minor >= 0 {
			r.Minor = &minor
		}
		return r
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule("c", -1, -1, "m"), rule("b", -1, -1, "m"),
		rule("c", 1, 3, "rwm"), rule("c", 1, 5, "rwm"), rule("c", 1, 7, "rwm"),
		rule("c", 1, 8, "rwm"), rule("c", 1, 9, "rwm"),
		rule("c", 5, 0, "rwm"), rule("c", 5, 1, "rwm"), rule("c", 5, 2, "rwm"),
		rule("c", 136, -1, "rwm"),
	}
}

// HostDevices are all nodes of the host's /dev, for a privileged container;
// what is mounted below it, and the console, are left out, as by Docker.
func HostDevices() ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil // it went away meanwhile, or is not ours to see
			}
			return err
		}
		if d.IsDir() {
			switch path {
			case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc", "/dev/.lxd-mounts", "/dev/.udev":
				return fs.SkipDir
			}
			return nil
		}
		if d.Type()&fs.ModeDevice == 0 || path == "/dev/console" {
			return nil
		}
		dev, err := HostDevice(path, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		out = append(out, dev)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the devices of the host: %w", err)
	}
	return out, nil
}

// HostDevice is the host's node path, as inside in the container; symbolic
// links are followed.
func HostDevice(path, inside string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return specs.LinuxDevice{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	d := specs.LinuxDevice{Path: inside}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		d.Type = "b"
	case unix.S_IFCHR:
		d.Type = "c"
	default:
		return d, &os.PathError{Op: "use as device", Path: path, Err: unix.ENODEV}
	}
	rdev := uint64(st.Rdev) //nolint:unconvert // uint64 on some architectures only
	d.Major, d.Minor = int64(unix.Major(rdev)), int64(unix.Minor(rdev))
	mode := os.FileMode(st.Mode & 0o777)
	d.FileMode, d.UID, d.GID = &mode, &st.Uid, &st.Gid
	return d, nil
}

// AccessRule is the rule for the devices group that lets d be used with
// access, some of "rwm".
func AccessRule(d specs.LinuxDevice, access string) (specs.LinuxDeviceCgroup, error) {
	if access == "" || strings.Trim(access, "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, &InvalidError{"invalid device mode: " + access}
	}
	major, minor := d.Major, d.Minor
	return specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: access}, nil
}
