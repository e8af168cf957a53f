// Package overlay is the root filesystem rung of overlayfs, mounted by root or
// inside a user namespace.
package overlay

import (
	"os"
	"strings"

	"coracle/fs/layer"
	"coracle/fs/snapshot"
	"coracle/fs/stack"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Overlay is the driver.
type Overlay struct {
	*stack.Store
	userXattr bool
}

var _ snapshot.Driver = (*Overlay)(nil)

// New is the driver in dir. With opt.UserXattr it is the rung for user
// namespaces. It touches nothing yet.
func New(dir string, opt snapshot.Options) (*Overlay, error) {
	s, err := stack.New(dir, layer.Overlay, opt)
	return &Overlay{s, opt.UserXattr}, err
}

// Name is the rung's name.
func (o *Overlay) Name() string {
	if o.userXattr {
		return "overlay-userns"
	}
	return "overlay"
}

// Mounts lays the snapshot's upper directory over its layers.
func (o *Overlay) Mounts(id string) ([]specs.Mount, error) {
	lowers, upper, work, err := o.Snapshot(id)
	if err != nil {
		return nil, err
	}
	if len(lowers) == 0 {
		// overlayfs wants a lower directory; an empty root needs none.
		return o.Bind(upper, "rw"), nil
	}
	return o.mount(lowers, "upperdir="+upper, "workdir="+work)
}

// View lays the layers over each other with nothing on top.
func (o *Overlay) View(chainID string) ([]specs.Mount, error) {
	lowers, err := o.Lowers(chainID)
	if err != nil {
		return nil, err
	}
	if len(lowers) == 1 {
		return o.Bind(lowers[0], "ro"), nil
	}
	return o.mount(lowers, "ro")
}

// mount names the directories relative to the driver's, so that 128 layers fit.
func (o *Overlay) mount(lowers []string, more ...string) ([]specs.Mount, error) {
	opts := append([]string{"lowerdir=" + strings.Join(lowers, ":")}, more...)
	if o.userXattr {
		opts = append(opts, "userxattr")
	}
	if _, err := os.Stat("/sys/module/overlay/parameters/index"); err == nil {
		// With an index a layer could have one container only (overlayfs.rst,
		// "Sharing and copying layers").
		opts = append(opts, "index=off")
	}
	return o.Union("overlay", "overlay", len(lowers), opts)
}
