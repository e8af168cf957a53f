// Package cgroup2 holds containers to their limits by control groups of
// version 2: one hierarchy, in which controllers are handed down level by
// level. What is not handed down to us is reported and the rest still holds.
package cgroup2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options are empty for now.
type Options struct{}

// Driver is the rung "cgroup2".
type Driver struct {
	// find lists the hierarchies, mkdir makes a group; tests change them.
	find  func() ([]cgfile.Hierarchy, error)
	mkdir func(string) error
	root  bool // we are root: the top of the hierarchy is ours to use
}

var (
	_ limits.Driver = (*Driver)(nil)
	_ limits.Group  = (*group)(nil)
)

// New makes the driver; nothing is touched before Create or Open.
func New(Options) *Driver {
	return &Driver{find: cgfile.Find, mkdir: mkdir, root: os.Geteuid() == 0}
}

func mkdir(p string) error {
	if err := unix.Mkdir(p, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: p, Err: err}
	}
	return nil
}

// Name is the rung's name.
func (d *Driver) Name() string { return "cgroup2" }

// controllers are those we ask for, on behalf of limits and of figures.
func controllers() []string {
	return []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}
}

// place finds the directory of container id's group, there or not, and the
// group above which nothing is ours.
func (d *Driver) place(id, parent string) (top, dir string, own bool, err error) {
	name, own, err := cgfile.Name(id, parent)
	if err != nil {
		return "", "", false, err
	}
	all, err := d.find()
	if err != nil {
		return "", "", false, fmt.Errorf("find control groups: %w", err)
	}
	i := slices.IndexFunc(all, func(h cgfile.Hierarchy) bool { return h.V2 })
	if i < 0 {
		return "", "", false, fmt.Errorf("control groups of version 2 are not mounted: %w", unix.ENOTSUP)
	}
	top = all[i].Mount
	if own {
		top = d.base(all[i])
	}
	return top, filepath.Join(top, name), own, nil
}

// base is the group that ours are made in. It cannot be the one we are in: a
// group with processes hands no controller down ("no internal processes",
// Documentation/admin-guide/cgroup-v2.rst). For root it is the top, the one
// group that this does not hold for; for a user the highest group that was
// delegated to him: we may make groups in it, and move processes from ours
// through its cgroup.procs.
func (d *Driver) base(h cgfile.Hierarchy) string {
	if d.root {
		return h.Mount
	}
	best := ""
	for p := filepath.Clean(h.Own); ; p = filepath.Dir(p) {
		dir := filepath.Join(h.Mount, p)
		if unix.Access(dir, unix.W_OK) != nil || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
			break
		}
		best = dir
		if p == "/" || p == "." {
			break
		}
	}
	if best == "" {
		return filepath.Join(h.Mount, h.Own) // where mkdir says why not
	}
	return best
}

// Create makes the group and sets its limits.
func (d *Driver) Create(id, parent string, r *specs.LinuxResources) (limits.Group, []limits.Unhonoured, error) {
	top, dir, own, err := d.place(id, parent)
	if err != nil {
		return nil, nil, err
	}
	g := &group{dir: dir, top: top, shared: own}
	for try := 0; ; try++ {
		// Another process may remove an empty group above ours in between.
		g.refused, err = d.make(top, dir)
		again := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
		if err == nil || !again || try == 50 {
			break
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make control group: %w", err)
	}
	not, err := g.apply(r, true)
	if err != nil {
		_ = cgfile.Remove(dir)
		return nil, nil, err
	}
	return g, not, nil
}

// make makes dir and the groups between it and top, handing controllers down
// on the way. It returns those that could not be, with the reason.
func (d *Driver) make(top, dir string) (map[string]error, error) {
	rel, err := filepath.Rel(top, dir)
	if err != nil {
		return nil, err
	}
	refused := map[string]error{}
	p := top
	for w := range strings.SplitSeq(rel, "/") {
		if err := enable(p, refused); err != nil {
			return nil, err
		}
		p = filepath.Join(p, w)
		if err := d.mkdir(p); err != nil {
			return nil, err
		}
	}
	return refused, nil
}

// enable hands controllers down from group p to those in it, each by a write
// of its own, so that one that is refused does not take the others with it.
func enable(p string, refused map[string]error) error {
	has, err := cgfile.Read(p, "cgroup.controllers")
	if err != nil {
		return err
	}
	on, err := cgfile.Read(p, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	have, given := strings.Fields(has), strings.Fields(on)
	for _, c := range controllers() {
		if slices.Contains(given, c) || !slices.Contains(have, c) {
			continue
		}
		err := cgfile.Write(p, "cgroup.subtree_control", "+"+c)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return err
			}
			refused[c] = err
		}
	}
	return nil
}

// Open finds the group again.
func (d *Driver) Open(id, parent string) (limits.Group, error) {
	top, dir, own, err := d.place(id, parent)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("control group of %s: %w", id, err)
	}
	return &group{dir: dir, top: top, shared: own}, nil
}
