package spec

import (
	"fmt"
	"slices"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// userMount is one of the mounts that were asked for.
func userMount(m *record.Mount, images map[string][]specs.Mount) (specs.Mount, error) {
	out := specs.Mount{Destination: m.Destination, Source: m.Source}
	switch m.Type {
	case mount.TypeTmpfs:
		out.Type, out.Source = "tmpfs", "tmpfs"
		out.Options = append([]string{"noexec", "nosuid", "nodev"}, m.Options...)
		if !m.RW {
			out.Options = append(out.Options, "ro")
		}
		return out, nil
	case mount.TypeImage:
		return imageMount(m, images[m.Layer])
	case mount.TypeBind, mount.TypeVolume:
	default:
		return out, fmt.Errorf("mount type %q is not supported", m.Type)
	}
	out.Type, out.Options = "bind", []string{"rbind"}
	if slices.Contains(m.Options, "bind-nonrecursive") {
		out.Options = []string{"bind"}
	}
	if m.Subpath != "" {
		out.Options = append(out.Options, "x-subpath="+m.Subpath)
	}
	switch {
	case m.RW:
	case slices.Contains(m.Options, "x-rro"):
		out.Options = append(out.Options, "x-rro")
	case slices.Contains(m.Options, "x-ro") || m.Type == mount.TypeVolume:
		out.Options = append(out.Options, "ro")
	default:
		// As far as the kernel can, as by Docker.
		out.Options = append(out.Options, "rro")
	}
	prop := string(m.Propagation)
	if prop == "" {
		prop = "rprivate"
	}
	out.Options = append(out.Options, prop)
	return out, nil
}

// imageMount lays an image's layers at a place, read-only.
func imageMount(m *record.Mount, view []specs.Mount) (specs.Mount, error) {
	if len(view) != 1 {
		return specs.Mount{}, fmt.Errorf("mount image %s: this rung of root filesystems cannot", m.Source)
	}
	out := view[0]
	out.Destination, out.Options = m.Destination, slices.Clone(out.Options)
	if m.Subpath != "" {
		if out.Type != "bind" {
			return out, fmt.Errorf("mount image %s: image-subpath is for images of one layer, or for rootfs=copy", m.Source)
		}
		out.Options = append(out.Options, "x-subpath="+m.Subpath)
	}
	return out, nil
}
