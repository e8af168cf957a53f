// Package cgroup1 holds containers to their limits by control groups of
// version 1. Each controller is used by itself, wherever it is mounted: what
// is missing is reported and the rest still holds.
package cgroup1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options say where things are.
type Options struct {
	// MountDir is where controllers are mounted when the machine has mounted
	// no control groups at all and we are root (2.6.32, a bare VM); "" never
	// mounts. It is a directory that does not outlive a boot.
	MountDir string
}

// Driver is the rung "cgroup1".
type Driver struct {
	opt Options
	// find lists the hierarchies, made replaces mkdir; tests change them.
	find  func() ([]cgfile.Hierarchy, error)
	mkdir func(string) error
}

var (
	_ limits.Driver = (*Driver)(nil)
	_ limits.Group  = (*group)(nil)
)

// New makes the driver; nothing is touched before Create or Open.
func New(opt Options) *Driver {
	return &Driver{opt: opt, find: cgfile.Find, mkdir: mkdir}
}

func mkdir(p string) error {
	if err := unix.Mkdir(p, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: p, Err: err}
	}
	return nil
}

// Name is the rung's name.
func (d *Driver) Name() string { return "cgroup1" }

// controllers are those we join, in the order in which a process is moved.
// The freezer is the last: nothing of ours can be stopped half way.
func controllers() []string {
	return []string{"cpuset", "cpu", "cpuacct", "memory", "devices", "pids", "blkio", "hugetlb", "freezer"}
}

// hierarchies are the mounted hierarchies by controller.
func (d *Driver) hierarchies() (map[string]cgfile.Hierarchy, error) {
	all, err := d.find()
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	if d.opt.MountDir != "" && len(all) == 0 {
		if err := mountAll(d.opt.MountDir); err != nil {
			return nil, err
		}
		if all, err = d.find(); err != nil {
			return nil, fmt.Errorf("find control groups: %w", err)
		}
	}
	out := map[string]cgfile.Hierarchy{}
	for _, h := range all {
		if h.V2 {
			continue
		}
		for _, c := range h.Controllers {
			out[c] = h
		}
	}
	return out, nil
}

// group names the directories of container id's group, there or not.
func (d *Driver) group(id, parent string) (*group, error) {
	name, own, err := cgfile.Name(id, parent)
	if err != nil {
		return nil, err
	}
	hs, err := d.hierarchies()
	if err != nil {
		return nil, err
	}
	g := &group{dirs: map[string]string{}, tops: map[string]string{}, shared: own}
	for _, c := range controllers() {
		h, ok := hs[c]
		if !ok {
			continue
		}
		top := h.Mount
		if own {
			top = filepath.Join(h.Mount, h.Own)
		}
		g.dirs[c], g.tops[c] = filepath.Join(top, name), top
		g.order = append(g.order, c)
	}
	return g, nil
}

// Create makes the group in every hierarchy and sets its limits.
func (d *Driver) Create(id, parent string, r *specs.LinuxResources) (limits.Group, []limits.Unhonoured, error) {
	g, err := d.group(id, parent)
	if err != nil {
		return nil, nil, err
	}
	var made []string
	undo := func() {
		for _, dir := range made {
			_ = cgfile.Remove(dir)
		}
	}
	refused := map[string]error{}
	for _, dir := range g.paths() {
		err := d.make(dir.top, dir.path, dir.cpuset)
		switch {
		case err == nil:
			made = append(made, dir.path)
		case errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS):
			for _, c := range g.leave(dir.path) {
				refused[c] = err
			}
		default:
			undo()
			return nil, nil, fmt.Errorf("make control group: %w", err)
		}
	}
	if len(made) == 0 {
		return nil, nil, fmt.Errorf("make control group: no controller of version 1 can be used%s: %w", reasons(refused), unix.ENOTSUP)
	}
	g.refused = refused
	not, err := g.apply(r, true)
	if err != nil {
		undo()
		return nil, nil, err
	}
	return g, not, nil
}

func reasons(m map[string]error) string {
	var b strings.Builder
	for c, err := range m {
		fmt.Fprintf(&b, "; %s: %v", c, err)
	}
	return b.String()
}

// make makes dir and the groups between it and top. Another process may remove
// an empty one of those in between: then it is done again.
func (d *Driver) make(top, dir string, cpuset bool) error {
	rel, err := filepath.Rel(top, dir)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err = d.makeOnce(top, rel, cpuset)
		again := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
		if err == nil || !again || try == 50 {
			return err
		}
	}
}

func (d *Driver) makeOnce(top, rel string, cpuset bool) error {
	p := top
	for w := range strings.SplitSeq(rel, "/") {
		above := p
		p = filepath.Join(p, w)
		if err := d.mkdir(p); err != nil {
			return err
		}
		if cpuset {
			if err := inherit(above, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit copies processors and memory nodes from the group above: without
// them no process may join, and only cgroup.clone_children (2.6.33) would do it
// for us.
func inherit(above, dir string) error {
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		s, err := cgfile.Read(dir, f)
		if err != nil {
			return err
		}
		if strings.TrimSpace(s) != "" {
			continue
		}
		if s, err = cgfile.Read(above, f); err != nil {
			return err
		}
		if err := cgfile.Write(dir, f, s); err != nil {
			return err
		}
	}
	return nil
}

// Open finds what is left of the group, in whatever hierarchies.
func (d *Driver) Open(id, parent string) (limits.Group, error) {
	g, err := d.group(id, parent)
	if err != nil {
		return nil, err
	}
	for _, dir := range g.paths() {
		if _, err := os.Stat(dir.path); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			g.leave(dir.path)
		}
	}
	if len(g.order) == 0 {
		return nil, fmt.Errorf("control group of %s: %w", id, fs.ErrNotExist)
	}
	return g, nil
}
