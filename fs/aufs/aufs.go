// Package aufs is the root filesystem rung of aufs, the union filesystem that
// Debian's and Ubuntu's kernels had before overlayfs.
package aufs

import (
	"strings"

	"coracle/fs/layer"
	"coracle/fs/snapshot"
	"coracle/fs/stack"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Aufs is the driver.
type Aufs struct{ *stack.Store }

var _ snapshot.Driver = (*Aufs)(nil)

// New is the driver in dir. It touches nothing yet.
func New(dir string, opt snapshot.Options) (*Aufs, error) {
	s, err := stack.New(dir, layer.AUFS, opt)
	return &Aufs{s}, err
}

// Name is the rung's name.
func (*Aufs) Name() string { return "aufs" }

// Mounts lays the snapshot's directory over its layers.
func (a *Aufs) Mounts(id string) ([]specs.Mount, error) {
	lowers, upper, _, err := a.Snapshot(id)
	if err != nil {
		return nil, err
	}
	if len(lowers) == 0 {
		return a.Bind(upper, "rw"), nil
	}
	return a.mount(append([]string{upper + "=rw"}, marked(lowers)...), nil)
}

// View lays the layers over each other, all of them read-only.
func (a *Aufs) View(chainID string) ([]specs.Mount, error) {
	lowers, err := a.Lowers(chainID)
	if err != nil {
		return nil, err
	}
	if len(lowers) == 1 {
		return a.Bind(lowers[0], "ro"), nil
	}
	return a.mount(marked(lowers), []string{"ro"})
}

// marked says of each branch that it is read-only and that its whiteouts count
// (aufs(5), "ro+wh").
func marked(lowers []string) []string {
	branches := make([]string, len(lowers))
	for i, l := range lowers {
		branches[i] = l + "=ro+wh"
	}
	return branches
}

// mount names the branches relative to the driver's directory. dio: files that
// programs opened read-only before a write stay right under mmap; xino is kept
// off the branches, which may lie on filesystems that aufs refuses for it.
func (a *Aufs) mount(branches, more []string) ([]specs.Mount, error) {
	opts := append([]string{"br=" + strings.Join(branches, ":"), "dio", "xino=/dev/shm/aufs.xino"}, more...)
	return a.Union("aufs", "none", len(branches), opts)
}
