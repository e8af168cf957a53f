package stage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mountCgroup shows the container its own control groups, read-only unless the
// spec says otherwise: one mount with version 2, one a controller with version 1.
func (b *builder) mountCgroup(m *specs.Mount, o options) error {
	if len(b.groups) == 0 {
		return nil
	}
	if len(b.groups) == 1 && b.groups[0].controllers == "" {
		bind := specs.Mount{Destination: m.Destination, Source: b.groups[0].dir}
		return b.bindGroup(&bind, o)
	}
	err := b.at(m.Destination, asDir, func(place string) error {
		return unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k")
	})
	if err != nil {
		return err
	}
	for _, g := range b.groups {
		if g.controllers == "" {
			continue
		}
		name := strings.TrimPrefix(g.controllers, "name=")
		bind := specs.Mount{Destination: m.Destination + "/" + name, Source: g.dir}
		if err := b.bindGroup(&bind, o); err != nil {
			return err
		}
		for _, alias := range strings.Split(name, ",") {
			if alias != name {
				symlink(name, m.Destination+"/"+alias)
			}
		}
	}
	if o.flags&unix.MS_RDONLY != 0 {
		return b.remount(m.Destination, unix.MS_RDONLY)
	}
	return nil
}

func (b *builder) bindGroup(m *specs.Mount, o options) error {
	err := b.bind(m, o)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a hierarchy that is mounted where we cannot see it
	}
	return err
}

// group is one hierarchy that the process is in.
type group struct {
	controllers string // "cpu,cpuacct", "name=systemd", "" for version 2
	dir         string // the process's own group on the host
}

// ownGroups joins /proc/self/cgroup (where the process is) with mountinfo (where
// each hierarchy is mounted, and which part of it).
func ownGroups(proc string) ([]group, error) {
	data, err := os.ReadFile(proc + "/cgroup")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		return nil, err
	}
	var groups []group
	mounted := hierarchies(string(mounts))
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		if at, root, ok := hierarchy(mounted, f[1]); ok {
			rel, err := filepath.Rel(root, f[2])
			if err != nil || strings.HasPrefix(rel, "..") {
				rel = "."
			}
			groups = append(groups, group{f[1], filepath.Join(at, rel)})
		}
	}
	return groups, nil
}

// hierarchies are the lines of mountinfo that are about control groups.
func hierarchies(mountinfo string) [][]string {
	var lines [][]string
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		if at := strings.Fields(before); len(at) >= 5 && strings.HasPrefix(after, "cgroup") {
			// The fields before the optional ones, and those behind.
			lines = append(lines, append(at[:5:5], strings.Fields(after)...))
		}
	}
	return lines
}

// hierarchy finds the mount of a hierarchy by its controllers.
func hierarchy(mounted [][]string, controllers string) (at, root string, ok bool) {
	first, _, _ := strings.Cut(controllers, ",")
	for _, f := range mounted {
		if len(f) < 8 {
			continue
		}
		switch kind := f[5]; {
		case controllers == "" && kind == "cgroup2",
			controllers != "" && kind == "cgroup" && hasOption(f[7], first):
			return f[4], f[3], true
		}
	}
	return "", "", false
}

func hasOption(list, want string) bool {
	for _, opt := range strings.Split(list, ",") {
		if opt == want {
			return true
		}
	}
	return false
}
