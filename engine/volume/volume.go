// Package volume turns what was said about binds, volumes and tmpfs into a
// container's mounts, in Docker's words where it is wrong.
package volume

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
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

// Resolve reads Binds, Mounts, and the volumes of the configuration, which
// holds those of the image too. dir is where named volumes are. Nothing is made.
func Resolve(cfg *container.Config, h *container.HostConfig, dir string) ([]record.Mount, error) {
	var out []record.Mount
	add := func(m record.Mount, err error) error {
		if err != nil {
			return err
		}
		if slices.ContainsFunc(out, func(o record.Mount) bool { return o.Destination == m.Destination }) {
			return fmt.Errorf("Duplicate mount point: %s", m.Destination)
		}
		out = append(out, m)
		return nil
	}
	for _, b := range h.Binds {
		if err := add(bind(b, dir)); err != nil {
			return nil, err
		}
	}
	for i := range h.Mounts {
		if err := add(fromMount(&h.Mounts[i], dir)); err != nil {
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
		if err := destination(dest, clean); err != nil {
			return nil, err
		}
		taken := slices.ContainsFunc(out, func(o record.Mount) bool { return o.Destination == clean })
		if _, tmpfs := h.Tmpfs[dest]; taken || tmpfs {
			continue
		}
		out = append(out, anonymous(clean, dir))
	}
	return out, nil
}

func destination(said, clean string) error {
	if !path.IsAbs(clean) {
		return fmt.Errorf("invalid volume specification: '%s': invalid mount config for type \"volume\": invalid mount path: '%s' mount path must be absolute", said, clean)
	}
	if clean == "/" {
		return fmt.Errorf("invalid volume specification: '%s': invalid mount config for type \"volume\": invalid specification: destination can't be '/'", said)
	}
	return nil
}

func anonymous(dest, dir string) record.Mount {
	var raw [32]byte
	rand.Read(raw[:])
	m := named(hex.EncodeToString(raw[:]), dest, dir)
	m.Anonymous, m.Mode = true, ""
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
		return anonymous(clean, dir), destination(s, clean)
	}
	if len(part) > 3 || part[0] == "" || part[1] == "" {
		return record.Mount{}, fmt.Errorf("invalid volume specification: '%s'", s)
	}
	dest := path.Clean(part[1])
	if err := destination(s, dest); err != nil {
		return record.Mount{}, err
	}
	var m record.Mount
	if path.IsAbs(part[0]) {
		m = record.Mount{MakeSource: true, MountPoint: container.MountPoint{
			Type: mount.TypeBind, Source: path.Clean(part[0]), Destination: dest, RW: true, Propagation: mount.PropagationRPrivate,
		}}
	} else {
		if !record.ValidName(part[0]) {
			return m, fmt.Errorf(`create %s: %q includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`, part[0], part[0])
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
	for _, o := range strings.Split(list, ",") {
		switch o {
		case "ro", "readonly":
			m.RW = false
		case "rw":
			m.RW = true
		case "z", "Z", "consistent", "cached", "delegated", "":
		case "nocopy":
			if m.Type != mount.TypeVolume {
				return fmt.Errorf("invalid mode: %s", list)
			}
			m.CopyUp = false
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			if m.Type != mount.TypeBind {
				return fmt.Errorf("invalid mode: %s", list)
			}
			m.Propagation = mount.Propagation(o)
		default:
			return fmt.Errorf("invalid mode: %s", list)
		}
	}
	return nil
}

// fromMount reads one --mount.
func fromMount(in *mount.Mount, dir string) (record.Mount, error) {
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
		m := anonymous(dest, dir)
		if in.Source != "" {
			if !record.ValidName(in.Source) {
				return wrong("%q includes invalid characters for a local volume name", in.Source)
			}
			m = named(in.Source, dest, dir)
		}
		m.RW = !in.ReadOnly
		if o := in.VolumeOptions; o != nil {
			m.CopyUp = !o.NoCopy
			if o.DriverConfig != nil && o.DriverConfig.Name != "" && o.DriverConfig.Name != "local" {
				return wrong("volume driver %q is not supported", o.DriverConfig.Name)
			}
			if o.Subpath != "" {
				return wrong("volume-subpath is not supported")
			}
		}
		return m, nil
	case mount.TypeTmpfs:
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
	return record.Mount{}, fmt.Errorf("mount type unknown: %q", in.Type)
}

func bindMount(in *mount.Mount, dest string, wrong func(string, ...any) (record.Mount, error)) (record.Mount, error) {
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
			if err := os.MkdirAll(filepath.Dir(m.Source), 0o711); err != nil {
				return nil, err
			}
			err := os.Mkdir(m.Source, 0o755)
			if err == nil {
				err = os.Chmod(m.Source, 0o755) // whatever our umask is
			}
			if err != nil && !errors.Is(err, os.ErrExist) {
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
				return nil, fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
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

// RemoveAnonymous deletes the volumes that belong to a container alone.
func RemoveAnonymous(list []record.Mount, remove func(dir string) error) error {
	var errs []error
	for _, m := range list {
		if m.Anonymous && m.Type == mount.TypeVolume {
			errs = append(errs, remove(filepath.Dir(m.Source)))
		}
	}
	return errors.Join(errs...)
}
