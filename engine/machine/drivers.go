// Package machine makes this machine's drivers of rungs' names, and works on
// containers' files with the rights that each rung needs.
package machine

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

// Machine makes drivers of rungs' names.
type Machine struct {
	report    *probe.Report
	root, run string
	maps      func() userns.IDMaps
	// Limit tells what a layer may unpack to; nil: there is no limit.
	Limit func() int64
	// SquashUnmapped tells whether files whose owner has no ID in the user namespace
	// are its root's; nil: they are an error.
	SquashUnmapped func() bool
}

// New describes the machine that r reports of, with state in root and run.
func New(r *probe.Report, root, run string) *Machine {
	return &Machine{report: r, root: root, run: run, maps: sync.OnceValue(userns.Maps)}
}

// Report is what was found out about this machine.
func (m *Machine) Report() *probe.Report { return m.report }

// Isolation is the driver of a rung.
func (m *Machine) Isolation(rung string) (isolate.Driver, error) {
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

// ShowsGroups tells whether /sys has the place that containers see their groups
// at: it came with 2.6.36, and nobody can make a directory there.
func ShowsGroups() bool {
	_, err := os.Stat("/sys/fs/cgroup")
	return err == nil
}

// Limits is the driver of a rung.
func (m *Machine) Limits(rung string) (limits.Driver, error) {
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
		return rlimits.New(m.report.Has(probe.RlimitData)), nil
	}
	return nil, fmt.Errorf("limits: this program has no driver %q", rung)
}

// Snapshots is the driver of a rung of root filesystems, for containers of a
// rung of isolation. Without root, it works as the root of the containers' user
// namespace, if that has more than one ID.
func (m *Machine) Snapshots(rung, isolation string) (snapshot.Driver, error) {
	opt := snapshot.Options{MaxBytes: m.layerLimit()}
	if isolation == "userns" {
		opt.UserXattr = true
		if maps := m.maps(); !maps.Single {
			opt.SquashUnmapped = m.SquashUnmapped != nil && m.SquashUnmapped()
			return fsop.New(fsop.Where{Rung: rung, Dir: m.snapshotDir(rung), Images: filepath.Join(m.root, "images"), Options: opt}, maps, OpenSnapshots)
		}
		opt.Squash = true
	}
	return OpenSnapshots(rung, m.snapshotDir(rung), opt)
}

// SingleID tells whether a container of the rung has one user and one group only.
func (m *Machine) SingleID(isolation string) bool { return isolation == "userns" && m.maps().Single }

func (m *Machine) snapshotDir(rung string) string { return filepath.Join(m.root, "fs", rung) }

// OpenSnapshots makes the driver of a rung in dir.
func OpenSnapshots(rung, dir string, opt snapshot.Options) (snapshot.Driver, error) {
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
