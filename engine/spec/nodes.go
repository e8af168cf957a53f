package spec

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coracle/backends/confine"

	"github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// devices are the nodes of the container and the rules of its devices group. In
// a user namespace no node can be made: those of the host are bound.
func devices(l *specs.Linux, h *container.HostConfig, bound bool) ([]specs.Mount, error) {
	l.Devices = confine.Devices()
	l.Resources = &specs.LinuxResources{Devices: confine.DeviceRules(h.Privileged)}
	if h.Privileged {
		all, err := confine.HostDevices()
		if err != nil {
			return nil, err
		}
		l.Devices = append(l.Devices, all...)
	}
	var mounts []specs.Mount
	for i := range h.Devices {
		nodes, err := mapped(&h.Devices[i])
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			l.Resources.Devices = append(l.Resources.Devices, n.rule)
			if bound {
				mounts = append(mounts, specs.Mount{Destination: n.dev.Path, Type: "bind", Source: n.host, Options: []string{"bind"}})
				continue
			}
			l.Devices = append(l.Devices, n.dev)
		}
	}
	for _, r := range h.DeviceCgroupRules {
		rule, err := deviceRule(r)
		if err != nil {
			return nil, err
		}
		l.Resources.Devices = append(l.Resources.Devices, rule)
	}
	return mounts, nil
}

// node is a device of the host that the container gets.
type node struct {
	host string
	dev  specs.LinuxDevice
	rule specs.LinuxDeviceCgroup
}

// mapped are the nodes of one --device: the device, or all below a directory.
func mapped(m *container.DeviceMapping) ([]node, error) {
	inside, perms := m.PathInContainer, m.CgroupPermissions
	if inside == "" {
		inside = m.PathOnHost
	}
	if perms == "" {
		perms = "rwm"
	}
	wrong := func(err error) error {
		return fmt.Errorf("error gathering device information while adding custom device %q: %w", m.PathOnHost, err)
	}
	real, err := filepath.EvalSymlinks(m.PathOnHost)
	if err != nil {
		return nil, wrong(err)
	}
	st, err := os.Stat(real)
	if err != nil {
		return nil, wrong(err)
	}
	if !st.IsDir() {
		n, err := newNode(real, inside, perms)
		if err != nil {
			return nil, wrong(err)
		}
		return []node{n}, nil
	}
	var all []node
	err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeDevice == 0 {
			return nil // not ours to see, gone meanwhile, or no device
		}
		n, err := newNode(path, filepath.Join(inside, strings.TrimPrefix(path, real)), perms)
		if err == nil {
			all = append(all, n)
		}
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, wrong(err)
	}
	return all, nil
}

func newNode(host, inside, perms string) (node, error) {
	d, err := confine.HostDevice(host, inside)
	if err != nil {
		return node{}, err
	}
	rule, err := confine.AccessRule(d, perms)
	return node{host, d, rule}, err
}

// deviceRule reads "c 1:3 rwm".
func deviceRule(s string) (specs.LinuxDeviceCgroup, error) {
	var kind, major, minor string
	bad := fmt.Errorf("invalid device cgroup rule format: '%s'", s)
	f := strings.Fields(s)
	if len(f) != 3 || len(f[0]) != 1 || !strings.Contains("abc", f[0]) || strings.Trim(f[2], "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	kind = f[0]
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return specs.LinuxDeviceCgroup{}, bad
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: f[2]}
	for _, part := range []struct {
		text string
		to   **int64
	}{{major, &rule.Major}, {minor, &rule.Minor}} {
		if part.text == "*" {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(part.text, "%d", &n); err != nil {
			return rule, bad
		}
		*part.to = &n
	}
	return rule, nil
}
