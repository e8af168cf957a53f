package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"coracle/backends/isolate"
	"coracle/backends/isolate/chroot"
	"coracle/backends/isolate/namespaces"
	"coracle/backends/isolate/userns"
	"coracle/backends/limits"
	"coracle/backends/limits/cgroup1"
	"coracle/backends/limits/cgroup2"
	"coracle/backends/limits/rlimits"
	"coracle/engine/fsop"
	"coracle/fs/aufs"
	"coracle/fs/copytree"
	"coracle/fs/overlay"
	"coracle/fs/reflink"
	"coracle/fs/snapshot"
	"coracle/probe"
)

// machine makes drivers of rungs' names.
type machine struct {
	report    *probe.Report
	root, run string
	maps      func() userns.IDMaps
}

func newMachine(r *probe.Report, root, run string) *machine {
	return &machine{report: r, root: root, run: run, maps: sync.OnceValue(userns.Maps)}
}

func (m *machine) isolation(rung string) (isolate.Driver, error) {
	switch rung {
	case "namespaces":
		return namespaces.New(), nil
	case "userns":
		return userns.New(m.maps()), nil
	case "chroot":
		return chroot.New(chroot.Options{MountNS: !m.report.Lacks(probe.NSMount)}), nil
	}
	return nil, fmt.Errorf("isolation: this program has no driver %q", rung)
}

func (m *machine) limits(rung string) (limits.Driver, error) {
	switch rung {
	case "cgroup2":
		return cgroup2.New(cgroup2.Options{}), nil
	case "cgroup1":
		opt := cgroup1.Options{}
		if os.Geteuid() == 0 {
			opt.MountDir = filepath.Join(m.run, "cgroup")
		}
		return cgroup1.New(opt), nil
	case "rlimits", "":
		return rlimits.New(), nil
	}
	return nil, fmt.Errorf("limits: this program has no driver %q", rung)
}

// snapshots is the driver of a rung of root filesystems, for containers of a
// rung of isolation. Without root, it works as the root of the containers' user
// namespace, if that has more than one ID.
func (m *machine) snapshots(rung, isolation string) (snapshot.Driver, error) {
	opt := snapshot.Options{}
	if isolation == "userns" {
		opt.UserXattr = true
		if maps := m.maps(); !maps.Single {
			return fsop.New(fsop.Where{Rung: rung, Dir: m.snapshotDir(rung), Images: filepath.Join(m.root, "images"), Options: opt}, maps, openSnapshots)
		}
		opt.Squash = true
	}
	return openSnapshots(rung, m.snapshotDir(rung), opt)
}

func (m *machine) snapshotDir(rung string) string { return filepath.Join(m.root, "fs", rung) }

func openSnapshots(rung, dir string, opt snapshot.Options) (snapshot.Driver, error) {
	switch rung {
	case "overlay", "overlay-userns":
		return overlay.New(dir, opt)
	case "aufs":
		return aufs.New(dir, opt)
	case "reflink":
		return reflink.New(dir, opt)
	case "copy":
		return copytree.New(dir, opt)
	}
	return nil, fmt.Errorf("rootfs: this program has no driver %q", rung)
}
