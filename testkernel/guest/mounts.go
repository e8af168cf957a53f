package guest

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// newRoot copies the initramfs to a tmpfs (or ramfs) and moves that over the
// root: pivot_root(2) refuses to work in the initial root file system.
func newRoot() []error {
	const at = "/.root"
	fail := func(what string, err error) []error {
		return []error{fmt.Errorf("stay in the initial root file system: %s: %w", what, err)}
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		return fail("mkdir", err)
	}
	err := unix.Mount("root", at, "tmpfs", 0, "mode=755,size=80%")
	if err != nil {
		err = unix.Mount("root", at, "ramfs", 0, "")
	}
	if err != nil {
		return fail("mount tmpfs or ramfs", err)
	}
	if err := moveTree("/", at); err != nil {
		_ = unix.Unmount(at, unix.MNT_DETACH)
		return fail("copy", err)
	}
	if err := os.Chdir(at); err != nil {
		return fail("chdir", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fail("move the mount", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fail("chroot", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fail("chdir", err)
	}
	return nil
}

// moveTree copies files and links, deleting each file behind it: memory may
// not hold two of all.
func moveTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == to {
			return fs.SkipDir
		}
		target := filepath.Join(to, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		case fs.ModeSymlink:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case 0:
			if err := copyFile(p, target, info.Mode().Perm()); err != nil {
				return err
			}
			return os.Remove(p)
		}
		return nil
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// Plain reads and writes: what is clever about copying is what old kernels
	// do not have.
	_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
	if e := out.Chmod(mode); err == nil {
		err = e
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// cgroups mounts each v1 controller that the kernel has at its usual place,
// and v2 beside them where that is there. Versions other than "" narrow it: "1",
// or "2", which then stands at the top, as where systemd has mounted it.
func cgroups(versions string) []error {
	f, err := os.Open("/proc/cgroups")
	if err != nil {
		return nil // a kernel without control groups
	}
	defer f.Close()
	top := "/sys/fs/cgroup"
	if os.MkdirAll(top, 0o755) != nil {
		top = "/cgroup" // before 2.6.39
		os.MkdirAll(top, 0o755)
	}
	if versions == "2" {
		if err := unix.Mount("cgroup", top, "cgroup2", 0, ""); err != nil {
			return []error{fmt.Errorf("mount cgroup2: %w", err)}
		}
		return nil
	}
	var errs []error
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, "mode=755"); err != nil {
		errs = append(errs, fmt.Errorf("mount tmpfs on %s: %w", top, err))
	}
	mount := func(dir, fstype, data string) {
		dir = filepath.Join(top, dir)
		if os.Mkdir(dir, 0o755) != nil {
			return
		}
		if err := unix.Mount("cgroup", dir, fstype, 0, data); err != nil {
			errs = append(errs, fmt.Errorf("mount %s %s: %w", fstype, data, err))
			os.Remove(dir)
		}
	}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text()) // name hierarchy cgroups enabled
		if len(w) == 4 && w[0][0] != '#' && w[3] == "1" && w[0] != "ns" {
			mount(w[0], "cgroup", w[0])
		}
	}
	if types, err := os.ReadFile("/proc/filesystems"); versions != "1" && err == nil && strings.Contains(string(types), "\tcgroup2\n") {
		mount("unified", "cgroup2", "")
	}
	return errs
}

// loopback brings lo up (ifreq of netdevice(7)).
func loopback() []error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return []error{fmt.Errorf("bring lo up: %w", err)}
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err == nil {
		ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
	}
	if err != nil {
		return []error{fmt.Errorf("bring lo up: %w", err)}
	}
	return nil
}
