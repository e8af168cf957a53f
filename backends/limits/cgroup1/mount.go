package cgroup1

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountAll mounts each controller that the kernel has enabled, by itself,
// below dir. Two processes that come at once take turns by a lock on dir.
func mountAll(dir string) error {
	enabled, err := enabledControllers("/proc/cgroups")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	for _, c := range enabled {
		if err := mountOne(filepath.Join(dir, c), c); err != nil {
			return err
		}
	}
	return nil
}

// enabledControllers reads lines "name hierarchy groups enabled". Only those
// that we use: above all never "ns", which would make a group of every clone.
func enabledControllers(file string) ([]string, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // a kernel without control groups
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) == 4 && w[3] == "1" && slices.Contains(controllers(), w[0]) {
			out = append(out, w[0])
		}
	}
	return out, sc.Err()
}

// mountOne mounts controller c at dir, unless it is mounted there already.
// EBUSY is a hierarchy that is just being taken down, or one with other
// controllers beside it: the former passes.
func mountOne(dir, c string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "tasks")); err == nil {
		return nil
	}
	var err error
	for range 20 {
		err = unix.Mount("cgroup", dir, "cgroup", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, c)
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		_ = os.Remove(dir)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
			return nil // this controller is missing, and reported as such
		}
		return fmt.Errorf("mount control groups of %s: %w", c, &os.PathError{Op: "mount", Path: dir, Err: err})
	}
	return nil
}
