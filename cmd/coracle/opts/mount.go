package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/mount"
)

// Volumes sorts the values of --volume: those with a source are binds (a
// relative path beginning with a dot is made absolute), the others paths of
// anonymous volumes.
func Volumes(values []string) (binds []string, anonymous map[string]struct{}, err error) {
	for _, v := range values {
		source, rest, ok := strings.Cut(v, ":")
		switch {
		case v == "":
			return nil, nil, errors.New("invalid empty volume spec")
		case ok && (source == "" || rest == ""):
			return nil, nil, fmt.Errorf("invalid spec: %s: want [SOURCE:]TARGET[:OPTIONS]", v)
		case !ok:
			if anonymous == nil {
				anonymous = map[string]struct{}{}
			}
			anonymous[v] = struct{}{}
			continue
		case strings.HasPrefix(source, "."):
			abs, err := filepath.Abs(source)
			if err != nil {
				return nil, nil, err
			}
			v = abs + ":" + rest
		}
		binds = append(binds, v)
	}
	return binds, anonymous, nil
}

// Tmpfs reads PATH[:OPTIONS].
func Tmpfs(values []string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	m := make(map[string]string, len(values))
	for _, v := range values {
		path, options, _ := strings.Cut(v, ":")
		m[path] = options
	}
	return m
}

// Mount reads a --mount: comma separated fields, quoted as in CSV.
func Mount(v string) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeVolume}
	if strings.TrimSpace(v) == "" {
		return m, io.EOF
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return m, err
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = strings.ToLower(key)
		if !ok {
			switch key {
			case "readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src":
				value = "true"
			default:
				return m, fmt.Errorf("invalid field '%s' must be a key=value pair", field)
			}
		}
		if err := mountField(&m, key, value); err != nil {
			return m, err
		}
	}
	return m, checkMount(&m)
}

func mountField(m *mount.Mount, key, value string) (err error) {
	switch key {
	case "type":
		m.Type = mount.Type(strings.ToLower(value))
	case "source", "src":
		m.Source = value
		if strings.HasPrefix(value, ".") {
			m.Source, err = filepath.Abs(value)
		}
	case "target", "dst", "destination":
		m.Target = value
	case "readonly", "ro":
		if m.ReadOnly, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("invalid value for %s: %s", key, value)
		}
	case "bind-propagation", "bind-nonrecursive", "bind-recursive", "bind-create-src":
		return bindField(m, key, value)
	case "volume-nocopy", "volume-label", "volume-subpath", "volume-driver", "volume-opt":
		return volumeField(m, key, value)
	case "image-subpath":
		m.ImageOptions = &mount.ImageOptions{Subpath: value}
	case "tmpfs-size", "tmpfs-mode":
		return tmpfsField(m, key, value)
	case "consistency":
		m.Consistency = mount.Consistency(strings.ToLower(value))
	default:
		err = fmt.Errorf("unexpected key '%s' in '%s=%s'", key, key, value)
	}
	return err
}

func bindField(m *mount.Mount, key, value string) error {
	if m.BindOptions == nil {
		m.BindOptions = &mount.BindOptions{}
	}
	o := m.BindOptions
	switch key {
	case "bind-propagation":
		o.Propagation = mount.Propagation(strings.ToLower(value))
	case "bind-create-src":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		o.CreateMountpoint = b
	case "bind-nonrecursive":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		o.NonRecursive = b
	case "bind-recursive":
		switch value {
		case "enabled":
		case "disabled":
			o.NonRecursive = true
		case "writable":
			o.ReadOnlyNonRecursive = true
		case "readonly":
			o.ReadOnlyForceRecursive = true
		default:
			return fmt.Errorf(`invalid value for %s: %s (must be "enabled", "disabled", "writable", or "readonly")`, key, value)
		}
	}
	return nil
}

func volumeField(m *mount.Mount, key, value string) error {
	if m.VolumeOptions == nil {
		m.VolumeOptions = &mount.VolumeOptions{}
	}
	o := m.VolumeOptions
	name, text, _ := strings.Cut(value, "=")
	switch key {
	case "volume-nocopy":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("invalid value for volume-nocopy: %s", value)
		}
		o.NoCopy = b
	case "volume-subpath":
		o.Subpath = value
	case "volume-label":
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[name] = text
	case "volume-driver", "volume-opt":
		if o.DriverConfig == nil {
			o.DriverConfig = &mount.Driver{}
		}
		if key == "volume-driver" {
			o.DriverConfig.Name = value
			break
		}
		if o.DriverConfig.Options == nil {
			o.DriverConfig.Options = map[string]string{}
		}
		o.DriverConfig.Options[name] = text
	}
	return nil
}

func tmpfsField(m *mount.Mount, key, value string) error {
	if m.TmpfsOptions == nil {
		m.TmpfsOptions = &mount.TmpfsOptions{}
	}
	if key == "tmpfs-size" {
		n, err := units.RAMInBytes(value)
		if err != nil {
			return fmt.Errorf("invalid value for %s: %s", key, value)
		}
		m.TmpfsOptions.SizeBytes = n
		return nil
	}
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil {
		return fmt.Errorf("invalid value for %s: %s", key, value)
	}
	m.TmpfsOptions.Mode = os.FileMode(mode)
	return nil
}

func checkMount(m *mount.Mount) error {
	switch m.Type {
	case "":
		return errors.New("type is required")
	}
	if m.Target == "" {
		return errors.New("target is required")
	}
	if m.BindOptions != nil && m.Type != mount.TypeBind {
		return fmt.Errorf("cannot mix 'bind-*' options with mount type '%s'", m.Type)
	}
	if m.VolumeOptions != nil && m.Type != mount.TypeVolume {
		return fmt.Errorf("cannot mix 'volume-*' options with mount type '%s'", m.Type)
	}
	if m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs {
		return fmt.Errorf("cannot mix 'tmpfs-*' options with mount type '%s'", m.Type)
	}
	return checkRecursive(m)
}

// checkRecursive refuses a bind-recursive that what else is said contradicts.
func checkRecursive(m *mount.Mount) error {
	if m.ImageOptions != nil && m.Type != mount.TypeImage {
		return fmt.Errorf("cannot mix 'image-*' options with mount type '%s'", m.Type)
	}
	o := m.BindOptions
	switch {
	case o == nil:
	case o.ReadOnlyNonRecursive && !m.ReadOnly:
		return errors.New("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction")
	case o.ReadOnlyForceRecursive && !m.ReadOnly:
		return errors.New("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction")
	case o.ReadOnlyForceRecursive && o.Propagation != mount.PropagationRPrivate:
		return errors.New("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")
	}
	return nil
}
