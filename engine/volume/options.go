package volume

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/backends/isolate/stage"
	"coracle/engine/record"

	"golang.org/x/sys/unix"
)

// checkOptions refuses options that the driver local does not have.
func checkOptions(o map[string]string) error {
	if len(o) == 0 {
		return nil
	}
	for key := range o {
		switch key {
		case "type", "device", "o":
		case "size":
			return errors.New("quota size requested but no quota support")
		default:
			return fmt.Errorf("invalid option: %q", key)
		}
	}
	for _, key := range []string{"device", "type"} {
		if o[key] == "" {
			return fmt.Errorf("missing required option: %q", key)
		}
	}
	return nil
}

// Mount mounts what the options of c's volumes name, each once for all containers
// that use it. Without root it can only be bound: the others are refused.
func (s *Store) Mount(c *record.Container, root bool) error {
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Type != "volume" {
			continue
		}
		what, err := read(s.dir, m.Name)
		if err != nil {
			return err
		}
		if len(what.Options) == 0 {
			continue
		}
		if !root {
			return fmt.Errorf("volume %s of type %s: a mount of the host's needs root: bind its device by -v or take --tmpfs", m.Name, what.Options["type"])
		}
		err = locked(s.dir, func() error { return mountOnce(filepath.Join(s.dir, m.Name, dataDir), what.Options) })
		if err != nil {
			return fmt.Errorf("error while mounting volume '%s': failed to mount local volume: %w", m.Source, err)
		}
	}
	return nil
}

// Unmount undoes Mount where no other container that runs uses the volume.
func (s *Store) Unmount(c *record.Container) error {
	var names []string
	for i := range c.Mounts {
		if m := &c.Mounts[i]; m.Type == "volume" {
			if what, err := read(s.dir, m.Name); err == nil && len(what.Options) > 0 {
				names = append(names, m.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return locked(s.dir, func() error {
		others, err := s.records.Drafts(nil)
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			busy := slices.ContainsFunc(others, func(o *record.Container) bool {
				return o.ID != c.ID && uses(o, name) && o.Alive()
			})
			if !busy {
				errs = append(errs, unmount(filepath.Join(s.dir, name, dataDir)))
			}
		}
		return errors.Join(errs...)
	})
}

func uses(c *record.Container, name string) bool {
	return slices.ContainsFunc(c.Mounts, func(m record.Mount) bool { return m.Type == "volume" && m.Name == name })
}

func mountOnce(place string, o map[string]string) error {
	there, err := mounted(place)
	if err != nil || there {
		return err
	}
	flags, data := stage.MountOptions(strings.Split(o["o"], ","))
	kind, device := o["type"], o["device"]
	if data, err = resolved(kind, data); err != nil {
		return err
	}
	if err := unix.Mount(device, place, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s:%s, data: %s: %w", device, place, data, err)
	}
	// What a bind is to be restricted to takes a second call (mount(2)).
	if flags&unix.MS_BIND != 0 && flags&(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC) != 0 {
		if err := unix.Mount("", place, "", flags|unix.MS_REMOUNT, ""); err != nil {
			unix.Unmount(place, unix.MNT_DETACH)
			return fmt.Errorf("remount %s: %w", place, err)
		}
	}
	return nil
}

// resolved puts an address in the place of the name of a server: the kernel knows
// no names.
func resolved(kind, data string) (string, error) {
	if kind != "nfs" && kind != "cifs" && !strings.HasPrefix(kind, "nfs") {
		return data, nil
	}
	opts := strings.Split(data, ",")
	for i, opt := range opts {
		host, ok := strings.CutPrefix(opt, "addr=")
		if !ok || net.ParseIP(host) != nil {
			continue
		}
		a, err := net.ResolveIPAddr("ip", host)
		if err != nil {
			return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		opts[i] = "addr=" + a.String()
	}
	return strings.Join(opts, ","), nil
}

// mounted tells whether something is mounted at place, which a filesystem bound
// on itself is too: the ID of its mount differs, not its device.
func mounted(place string) (bool, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(place)
	for line := range strings.SplitSeq(string(data), "\n") {
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			return true, nil
		}
	}
	return false, nil
}

// unmount unmounts what is mounted at place; nothing is no error.
func unmount(place string) error {
	there, err := mounted(place)
	if err != nil || !there {
		return err
	}
	if err := unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "umount", Path: place, Err: err}
	}
	return nil
}
