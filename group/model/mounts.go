package model

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"coracle/group/load"
	"coracle/internal/version"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/volume"
)

// File is a secret or a config that is copied into the container.
type File struct {
	Target   string
	Content  []byte
	UID, GID int
	Mode     os.FileMode
}

func mounts(p *load.Project, s *types.ServiceConfig, w Want, d *Draft) error {
	taken := map[string]bool{}
	for _, v := range s.Volumes {
		taken[path.Clean(v.Target)] = true
		m := mountOf(p, v)
		if name := w.Inherit[v.Target]; v.Type == types.VolumeTypeVolume && v.Source == "" && name != "" {
			m.Source = name
		}
		switch {
		case m.Type == mount.TypeBind && bindable(v.Bind):
			// As Docker: this form makes a source that is missing.
			d.Host.Binds = append(d.Host.Binds, bind(m.Source, v))
		case m.Type == mount.TypeVolume && v.Source != "" && (v.Volume == nil || len(v.Volume.Labels) == 0 && v.Volume.Subpath == "" && !v.Volume.NoCopy):
			d.Host.Binds = append(d.Host.Binds, bind(m.Source, v))
		default:
			d.Host.Mounts = append(d.Host.Mounts, m)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(w.Inherit)) {
		if !taken[path.Clean(target)] {
			taken[path.Clean(target)] = true
			d.Host.Mounts = append(d.Host.Mounts, mount.Mount{Type: mount.TypeVolume, Source: w.Inherit[target], Target: target})
		}
	}
	for _, c := range s.Secrets {
		if err := file(p, types.FileReferenceConfig(c), types.FileObjectConfig(p.Secrets[c.Source]), "secret", "/run/secrets/", taken, d); err != nil {
			return err
		}
	}
	for _, c := range s.Configs {
		if err := file(p, types.FileReferenceConfig(c), types.FileObjectConfig(p.Configs[c.Source]), "config", "/", taken, d); err != nil {
			return err
		}
	}
	return nil
}

func mountOf(p *load.Project, v types.ServiceVolumeConfig) mount.Mount {
	m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: mount.Consistency(v.Consistency)}
	switch v.Type {
	case types.VolumeTypeBind:
		if !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(p.WorkingDir, m.Source)
		}
		if b := v.Bind; b != nil {
			m.BindOptions = &mount.BindOptions{
				Propagation: mount.Propagation(b.Propagation), CreateMountpoint: bool(b.CreateHostPath),
				NonRecursive: b.Recursive == "disabled", ReadOnlyNonRecursive: b.Recursive == "writable",
				ReadOnlyForceRecursive: b.Recursive == "readonly",
			}
		}
	case types.VolumeTypeVolume:
		if named, ok := p.Volumes[v.Source]; ok {
			m.Source = named.Name
		}
		if o := v.Volume; o != nil {
			m.VolumeOptions = &mount.VolumeOptions{NoCopy: o.NoCopy, Subpath: o.Subpath, Labels: o.Labels}
		}
	case types.VolumeTypeTmpfs:
		if o := v.Tmpfs; o != nil {
			m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(o.Size), Mode: os.FileMode(o.Mode)}
		}
	case types.VolumeTypeImage:
		if o := v.Image; o != nil {
			m.ImageOptions = &mount.ImageOptions{Subpath: o.SubPath}
		}
	}
	return m
}

func bindable(b *types.ServiceVolumeBind) bool {
	return b == nil || bool(b.CreateHostPath) && b.Propagation == "" && b.Recursive == ""
}

func bind(source string, v types.ServiceVolumeConfig) string {
	options := []string{"rw"}
	if v.ReadOnly {
		options[0] = "ro"
	}
	if v.Bind != nil && v.Bind.SELinux != "" {
		options = append(options, v.Bind.SELinux)
	}
	return source + ":" + v.Target + ":" + strings.Join(options, ",")
}

// file mounts a secret or config that is a file, and has copied what is not or
// what has an owner or a mode of its own.
func file(p *load.Project, ref types.FileReferenceConfig, o types.FileObjectConfig, kind, dir string, taken map[string]bool, d *Draft) error {
	target := ref.Target
	if target == "" {
		target = ref.Source
	}
	if !path.IsAbs(target) {
		target = dir + target
	}
	if taken[path.Clean(target)] {
		return nil
	}
	taken[path.Clean(target)] = true
	switch {
	case bool(o.External):
		return fmt.Errorf("unsupported external %s %s", kind, o.Name)
	case o.Driver != "" || o.TemplateDriver != "":
		return fmt.Errorf("%s %s: drivers are not supported", kind, ref.Source)
	}
	f := File{Target: target, Mode: 0o444}
	own := ref.UID != "" || ref.GID != "" || ref.Mode != nil
	switch {
	case o.Content != "":
		f.Content = []byte(o.Content)
	case o.Environment != "":
		value, ok := p.Environment[o.Environment]
		if !ok {
			return fmt.Errorf("environment variable %q required by %s %q is not set", o.Environment, kind, o.Name)
		}
		f.Content = []byte(value)
	case !own:
		d.Host.Mounts = append(d.Host.Mounts, mount.Mount{Type: mount.TypeBind, Source: o.File, Target: target, ReadOnly: true})
		return nil
	default:
		data, err := os.ReadFile(o.File)
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind, ref.Source, err)
		}
		f.Content = data
	}
	if d.Host.ReadonlyRootfs {
		return fmt.Errorf("%s %q cannot be written into a read-only root filesystem: use file, without uid, gid and mode", kind, ref.Source)
	}
	for _, id := range []struct {
		text string
		to   *int
	}{{ref.UID, &f.UID}, {ref.GID, &f.GID}} {
		if _, err := fmt.Sscanf(id.text+"\n", "%d\n", id.to); id.text != "" && err != nil {
			return fmt.Errorf("%s %q: %q is no numeric ID", kind, ref.Source, id.text)
		}
	}
	if ref.Mode != nil {
		f.Mode = os.FileMode(*ref.Mode)
	}
	d.Inject = append(d.Inject, f)
	return nil
}

func resourceLabels(p *load.Project, own types.Labels, kind, key, hash string) map[string]string {
	l := map[string]string{}
	maps.Copy(l, own)
	l[kind], l[LabelProject], l[LabelVersion], l[LabelHash] = key, p.Name, version.Version, hash
	return l
}

// Volume is how a project's volume is to be made.
func Volume(p *load.Project, key string) volume.CreateRequest {
	v := p.Volumes[key]
	return volume.CreateRequest{Name: v.Name, Driver: v.Driver, DriverOpts: v.DriverOpts, Labels: resourceLabels(p, v.Labels, LabelVolume, key, VolumeHash(v))}
}
