package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/engine/record"
	"coracle/fs/snapshot"
	"coracle/probe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// RootMounts are the mounts of c's root filesystem.
func RootMounts(c *record.Container, snaps snapshot.Driver) ([]specs.Mount, error) {
	if c.View {
		return snaps.View(c.Layer)
	}
	return snaps.Mounts(c.ID)
}

// RootDir is where c's root is mounted, or is.
func RootDir(c *record.Container, snaps snapshot.Driver) string {
	if !c.View {
		if dir := snaps.Dir(c.ID); dir != "" {
			return dir
		}
	}
	return filepath.Join(c.RunDir, "rootfs")
}

// ChooseView decides whether c, if its root is read-only, can use its image's
// layer itself, with no snapshot at all. What is mounted into the root needs a
// place there, and nobody may make one in a layer that others use; so the places
// must exist, or be laid over the layers of an overlay.
func ChooseView(c *record.Container, snaps snapshot.Driver) {
	if !c.HostConfig.ReadonlyRootfs || c.Layer == "" {
		return
	}
	mounts, err := snaps.View(c.Layer)
	if err != nil || len(mounts) != 1 {
		return
	}
	lowers := layerDirs(mounts[0])
	if len(lowers) == 0 {
		return
	}
	for _, p := range places(c) {
		exists, plain := look(lowers, p)
		if !plain || !exists {
			return
		}
	}
	c.View = true
}

// places are the mount points that must exist in a read-only root; those below
// /dev are in a filesystem of its own.
func places(c *record.Container) []string {
	list := []string{"/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
	for _, m := range c.Mounts {
		list = append(list, m.Destination)
	}
	for dest := range c.HostConfig.Tmpfs {
		list = append(list, dest)
	}
	if wd := c.Config.WorkingDir; wd != "" {
		list = append(list, wd)
	}
	return slices.DeleteFunc(list, func(p string) bool { return strings.HasPrefix(p, "/dev/") })
}

// layerDirs are the directories of a view, the uppermost first.
func layerDirs(m specs.Mount) []string {
	if slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
		return []string{m.Source}
	}
	if m.Type != "overlay" {
		return nil
	}
	base, list := "/", ""
	for _, o := range m.Options {
		if v, ok := strings.CutPrefix(o, "x-chdir="); ok {
			base = v
		}
		if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
			list = v
		}
	}
	var dirs []string
	for _, d := range strings.Split(list, ":") {
		if d == "" || strings.Contains(d, `\`) {
			return nil
		}
		if !filepath.IsAbs(d) {
			d = filepath.Join(base, d)
		}
		dirs = append(dirs, d)
	}
	return dirs
}

// look tells whether p exists in layers; plain is false when a link or a
// whiteout on the way makes that hard to tell.
func look(dirs []string, p string) (exists, plain bool) {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	at := ""
	for _, part := range parts {
		at += "/" + part
		exists = false
		for _, d := range dirs {
			st, err := os.Lstat(d + at)
			if err != nil {
				continue
			}
			if m := st.Mode(); m&(os.ModeSymlink|os.ModeDevice|os.ModeCharDevice) != 0 {
				return false, false
			}
			exists = true
			break
		}
		if !exists {
			return false, true
		}
	}
	return true, true
}

// Volatile mounts c's overlay without syncs, where the kernel can and the
// container is removed when it ends: unmounting an overlay otherwise syncs all of
// the filesystem below it, which other programs of the machine write to. Nothing
// of such a container outlives it, so nothing is lost with the syncs.
func Volatile(c *record.Container, report *probe.Report, mounts []specs.Mount) []specs.Mount {
	if !c.HostConfig.AutoRemove || c.View || !report.Has(probe.OverlayVolatile) || c.Drivers.Rootfs != "overlay" {
		return mounts
	}
	mounts = slices.Clone(mounts)
	for i := range mounts {
		m := &mounts[i]
		if m.Type != "overlay" {
			continue
		}
		dir, work := "", ""
		for _, opt := range m.Options {
			if v, ok := strings.CutPrefix(opt, "x-chdir="); ok {
				dir = v
			}
			if v, ok := strings.CutPrefix(opt, "workdir="); ok {
				work = v
			}
		}
		if work == "" {
			continue
		}
		if !filepath.IsAbs(work) {
			work = filepath.Join(dir, work)
		}
		// The mark of an earlier volatile mount, after which the kernel refuses
		// another: a start that failed.
		os.RemoveAll(filepath.Join(work, "work", "incompat"))
		m.Options = append(slices.Clone(m.Options), "volatile")
	}
	return mounts
}
