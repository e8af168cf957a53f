package launch

import (
	"os"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Peers takes hold, while they still are the host's own, of the sources of bind
// mounts that are to stay shared with the host. The stage's mounts are made slaves
// of the host's before it begins, so that nothing that it mounts shows on the host;
// a copy of a mount that hangs in no tree (open_tree, 5.2) stays the peer of what it
// was copied from. Older kernels have none: there the container sees what the host
// mounts, and not the other way round. The caller closes p.Trees.
func Peers(p *Plan) {
	var mounts []specs.Mount
	for i, m := range p.Config.Spec.Mounts {
		all := slices.Contains(m.Options, "rbind")
		if m.Type != "bind" || !slices.Contains(m.Options, "shared") && !slices.Contains(m.Options, "rshared") {
			continue
		}
		flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
		if all {
			flags |= unix.AT_RECURSIVE
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
		if err != nil {
			continue // the ordinary way says what is wrong
		}
		if mounts == nil {
			mounts = slices.Clone(p.Config.Spec.Mounts)
		}
		p.Trees = append(p.Trees, os.NewFile(uintptr(fd), m.Source))
		mounts[i].Options = append(slices.Clone(m.Options), "x-tree="+strconv.Itoa(len(p.Trees)))
	}
	if mounts != nil {
		spec := *p.Config.Spec
		spec.Mounts = mounts
		p.Config.Spec = &spec
	}
}
