// Package volume turns what was said about binds, volumes and tmpfs into a
// container's mounts, in Docker's words where it is wrong.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
)

// From is where mounts come from.
type From struct {
	// Dir is where named volumes are.
	Dir string
	// Donor gives the mounts of another container.
	Donor func(ref string) ([]record.Mount, error)
	// Image gives the chain ID of an image.
	Image func(ref string) (chain string, err error)
}

// Resolve reads VolumesFrom, Binds, Mounts, and the volumes of the configuration,
// which holds those of the image too. Nothing is made.
func Resolve(cfg *container.Config, h *container.HostConfig, from From) ([]record.Mount, error) {
	out, err := donated(h.VolumesFrom, from.Donor)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	add := func(m record.Mount, err error) error {
		if err != nil {
			return err
		}
		if own[m.Destination] {
			return fmt.Errorf("Duplicate mount point: %s", m.Destination)
		}
		own[m.Destination] = true
		// What the user names stands over what comes of another container.
		out = slices.DeleteFunc(out, func(o record.Mount) bool { return o.Destination == m.Destination })
		out = append(out, m)
		return nil
	}
	for _, b := range h.Binds {
		if err := add(bind(b, from.Dir)); err != nil {
			return nil, err
		}
	}
	for i := range h.Mounts {
		if err := add(fromMount(&h.Mounts[i], from)); err != nil {
			return nil, err
		}
	}
	var more []string
	for dest := range cfg.Volumes {
		more = append(more, dest)
	}
	sort.Strings(more)
	for _, dest := range more {
		clean := path.Clean(dest)
		if err := destination(mount.TypeVolume, dest, clean); err != nil {
			return nil, err
		}
		taken := slices.ContainsFunc(out, func(o record.Mount) bool { return o.Destination == clean })
		if _, tmpfs := h.Tmpfs[dest]; taken || tmpfs {
			continue
		}
		out = append(out, anonymous(clean, from.Dir))
	}
	return out, nil
}

// donated are the mounts of other containers, NAME[:ro]. A volume stays theirs:
// it does not go with the container that takes it over.
func donated(refs []string, donor func(string) ([]record.Mount, error)) ([]record.Mount, error) {
	var out []record.Mount
	for _, ref := range refs {
		name, mode, _ := strings.Cut(ref, ":")
		switch {
		case ref == "":
			return nil, errors.New("volumes-from specification cannot be an empty string")
		case name == "":
			return nil, errors.New("invalid name or ID supplied: \"\"")
		}
		writable := true
		for _, o := range strings.Split(mode, ",") {
			switch o {
			case "ro":
				writable = false
			case "rw", "z", "Z", "":
			default:
				return nil, fmt.Errorf("invalid mode: %s", mode)
			}
		}
		list, err := donor(name)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			m.Anonymous, m.CopyUp, m.RW, m.Mode = false, false, m.RW && writable, mode
			out = slices.DeleteFunc(out, func(o record.Mount) bool { return o.Destination == m.Destination })
			out = append(out, m)
		}
	}
	return out, nil
}

func destination(kind mount.Type, said, clean string) error {
	if !path.IsAbs(clean) {
		return fmt.Errorf("invalid volume specification: '%s': invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", said, kind, clean)
	}
	if clean == "/" {
		return fmt.Errorf("invalid volume specification: '%s': invalid mount config for type %q: invalid specification: destination can't be '/'", said, kind)
	}
	return nil
}

func anonymous(dest, dir string) record.Mount {
	m := named(NewName(), dest, dir)
	m.Anonymous, m.Mode, m.Labels = true, "", map[string]string{AnonymousLabel: ""}
	return m
}

func named(name, dest, dir string) record.Mount {
	return record.Mount{CopyUp: true, MountPoint: container.MountPoint{
		Type: mount.TypeVolume, Name: name, Driver: "local", Source: filepath.Join(dir, name, "_data"),
		Destination: dest, Mode: "z", RW: true,
	}}
}

// bind reads "source:destination[:options]" of -v.
func bind(s, dir string) (record.Mount, error) {
	part := strings.Split(s, ":")
	if len(part) == 1 {
		// A lone path is a volume without a name.
		clean := path.Clean(s)
		return anonymous(clean, dir), destination(mount.TypeVolume, s, clean)
	}
	if len(part) > 3 || part[0] == "" || part[1] == "" {
		return record.Mount{}, fmt.Errorf("invalid volume specification: '%s'", s)
	}
	dest := path.Clean(part[1])
	kind := mount.TypeVolume
	if path.IsAbs(part[0]) {
		kind = mount.TypeBind
	}
	if err := destination(kind, s, dest); err != nil {
		return record.Mount{}, err
	}
	var m record.Mount
	if path.IsAbs(part[0]) {
		m = record.Mount{MakeSource: true, MountPoint: container.MountPoint{
			Type: mount.TypeBind, Source: path.Clean(part[0]), Destination: dest, RW: true, Propagation: mount.PropagationRPrivate,
		}}
	} else {
		if err := checkName(part[0]); err != nil {
			return m, errors.New(Reason(err))
		}
		m = named(part[0], dest, dir)
	}
	if len(part) == 3 {
		m.Mode = part[2]
		return m, modes(&m, part[2])
	}
	return m, nil
}

func modes(m *record.Mount, list string) error {
	wrong := fmt.Errorf("invalid mode: %s", list)
	seen := map[string]bool{}
	for _, o := range strings.Split(list, ",") {
		// One of a kind: Docker takes no two.
		if kind := modeKind(o); kind != "" {
			if seen[kind] {
				return wrong
			}
			seen[kind] = true
		}
		switch o {
		case "ro", "readonly":
			m.RW = false
		case "rw":
			m.RW = true
		case "z", "Z", "consistent", "cached", "delegated", "":
		case "nocopy":
			if m.Type != mount.TypeVolume {
				return wrong
			}
			m.CopyUp = false
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			if m.Type != mount.TypeBind {
				return wrong
			}
			m.Propagation = mount.Propagation(o)
		default:
			return wrong
		}
	}
	return nil
}

// modeKind sorts the modes of -v; "" is one that may be there twice.
func modeKind(mode string) string {
	switch mode {
	case "ro", "rw", "readonly":
		return "access"
	case "z", "Z":
		return "label"
	case "nocopy":
		return "copy"
	case "private", "rprivate", "shared", "rshared", "slave", "rslave":
		return "propagation"
	case "consistent", "cached", "delegated":
		return "consistency"
	}
	return ""
}

// fromMount reads one --mount.
func fromMount(in *mount.Mount, from From) (record.Mount, error) {
	wrong := func(format string, a ...any) (record.Mount, error) {
		return record.Mount{}, fmt.Errorf("invalid mount config for type %q: "+format, append([]any{in.Type}, a...)...)
	}
	dest := path.Clean(in.Target)
	switch {
	case in.Target == "":
		return wrong("field Target must not be empty")
	case !path.IsAbs(dest):
		return wrong("invalid mount path: '%s' mount path must be absolute", in.Target)
	case dest == "/":
		return wrong("invalid specification: destination can't be '/'")
	}
	switch in.Type {
	case mount.TypeBind:
		return bindMount(in, dest, wrong)
	case mount.TypeVolume:
		return volumeMount(in, dest, from.Dir, wrong)
	case mount.TypeImage:
		return imageMount(in, dest, from, wrong)
	case mount.TypeTmpfs:
		return tmpfsMount(in, dest, wrong)
	}
	return wrong("mount type unknown")
}

// wrongFunc says what is wrong with a mount.
type wrongFunc func(format string, a ...any) (record.Mount, error)

func volumeMount(in *mount.Mount, dest, dir string, wrong wrongFunc) (record.Mount, error) {
	m := anonymous(dest, dir)
	if in.Source != "" {
		if err := checkName(in.Source); err != nil {
			return record.Mount{}, errors.New(Reason(err))
		}
		m = named(in.Source, dest, dir)
	}
	m.RW = !in.ReadOnly
	o := in.VolumeOptions
	if o == nil {
		return m, nil
	}
	m.CopyUp, m.Subpath = !o.NoCopy, o.Subpath
	if o.Subpath != "" && !filepath.IsLocal(o.Subpath) {
		return wrong("invalid volume subpath: %q must be relative and within the volume", o.Subpath)
	}
	if len(o.Labels) > 0 {
		labels := maps.Clone(o.Labels)
		maps.Copy(labels, m.Labels)
		m.Labels = labels
	}
	if d := o.DriverConfig; d != nil {
		if d.Name != "" && d.Name != "local" {
			return wrong("error looking up volume plugin %s: plugin %q not found", d.Name, d.Name)
		}
		if err := checkOptions(d.Options); err != nil {
			return wrong("%w", err)
		}
		m.DriverOpts = d.Options
	}
	return m, nil
}

// imageMount mounts what is in an image, which nobody may change.
func imageMount(in *mount.Mount, dest string, from From, wrong wrongFunc) (record.Mount, error) {
	if in.Source == "" {
		return wrong("field Source must not be empty")
	}
	m := record.Mount{MountPoint: container.MountPoint{Type: mount.TypeImage, Source: in.Source, Destination: dest}}
	if o := in.ImageOptions; o != nil {
		if o.Subpath != "" && !filepath.IsLocal(o.Subpath) {
			return wrong("invalid image subpath: %q must be relative and within the image", o.Subpath)
		}
		m.Subpath = o.Subpath
	}
	var err error
	m.Layer, err = from.Image(in.Source)
	return m, err
}

func tmpfsMount(in *mount.Mount, dest string, wrong wrongFunc) (record.Mount, error) {
	if in.Source != "" {
		return wrong("field Source must not be specified")
	}
	m := record.Mount{MountPoint: container.MountPoint{Type: mount.TypeTmpfs, Destination: dest, RW: !in.ReadOnly}}
	if o := in.TmpfsOptions; o != nil {
		if o.SizeBytes > 0 {
			m.Options = append(m.Options, fmt.Sprintf("size=%d", o.SizeBytes))
		}
		if o.Mode != 0 {
			m.Options = append(m.Options, fmt.Sprintf("mode=%o", o.Mode))
		}
		for _, opt := range o.Options {
			m.Options = append(m.Options, strings.Join(opt, "="))
		}
	}
	return m, nil
}

func bindMount(in *mount.Mount, dest string, wrong wrongFunc) (record.Mount, error) {
	if in.Source == "" {
		return wrong("field Source must not be empty")
	}
	if !path.IsAbs(in.Source) {
		return wrong("invalid mount path: '%s' mount path must be absolute", in.Source)
	}
	m := record.Mount{MountPoint: container.MountPoint{
		Type: mount.TypeBind, Source: path.Clean(in.Source), Destination: dest, RW: !in.ReadOnly, Propagation: mount.PropagationRPrivate,
	}}
	if o := in.BindOptions; o != nil {
		m.MakeSource = o.CreateMountpoint
		if o.Propagation != "" {
			if !slices.Contains(mount.Propagations, o.Propagation) {
				return wrong("invalid propagation mode: %s", o.Propagation)
			}
			m.Propagation = o.Propagation
		}
		if o.NonRecursive {
			m.Options = append(m.Options, "bind-nonrecursive")
		}
		switch {
		case o.ReadOnlyForceRecursive:
			m.Options = append(m.Options, "x-rro")
		case o.ReadOnlyNonRecursive:
			m.Options = append(m.Options, "x-ro")
		}
	}
	if _, err := os.Stat(m.Source); err != nil && !m.MakeSource {
		if errors.Is(err, os.ErrNotExist) {
			return wrong("bind source path does not exist: %s", m.Source)
		}
		return wrong("bind source path: %w", err)
	}
	return m, nil
}

// Sources makes what is missing of the sources: volumes, and directories that
// -v names. fresh lists the volumes that are empty and want the image's files.
func Sources(list []record.Mount) (fresh []record.Mount, err error) {
	for _, m := range list {
		switch {
		case m.Type == mount.TypeVolume:
			if err := ensure(filepath.Dir(filepath.Dir(m.Source)), m.Name, saved{Labels: m.Labels, Options: m.DriverOpts}); err != nil {
				return nil, err
			}
			if m.CopyUp && isEmpty(m.Source) {
				fresh = append(fresh, m)
			}
		case m.Type == mount.TypeBind && m.MakeSource:
			// A source may be a file, or a socket.
			if _, err := os.Stat(m.Source); !errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err := os.MkdirAll(m.Source, 0o755); err != nil {
				return nil, sourceError(m.Source, err)
			}
		}
	}
	return fresh, nil
}

func isEmpty(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) == 0
}

// sourceError is Docker's. It is no *fs.PathError, which would be one of our own
// state.
func sourceError(source string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("error while creating mount source path '%s': %s %s: %w", source, p.Op, p.Path, p.Err)
	}
	return fmt.Errorf("error while creating mount source path '%s': %w", source, err)
}
