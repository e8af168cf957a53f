package confine

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultShmSize is the size of /dev/shm in bytes where none is given.
const DefaultShmSize = 64 << 20

// MountOptions say how a container's own mounts differ from the default.
type MountOptions struct {
	ShmSize    int64 // bytes; 0: DefaultShmSize
	Privileged bool  // sysfs and cgroup are writable
	// NoNetNS: the container is in the host's network namespace. In a user
	// namespace sysfs can then not be mounted, and the host's is bound.
	NoNetNS bool
	// UserNS: mounted inside a user namespace.
	UserNS bool
	// NoTTYGroup: gid 5 is not mapped, so devpts cannot give it to terminals.
	NoTTYGroup bool
	// HostIPC: /dev/shm and /dev/mqueue are the host's.
	HostIPC bool
	// NoCgroup leaves /sys/fs/cgroup out.
	NoCgroup bool
}

// Mounts are the mounts every container has, in their order: Docker's.
func Mounts(o MountOptions) []specs.Mount {
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if !o.NoTTYGroup {
		pts = append(pts, "gid=5")
	}
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
		o.sysfs(),
	}
	if !o.NoCgroup {
		out = append(out, specs.Mount{
			Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: append(o.access(), "nosuid", "noexec", "nodev"),
		})
	}
	return append(out, o.ipc()...)
}

func (o MountOptions) access() []string {
	if o.Privileged {
		return []string{"rw"}
	}
	return []string{"ro"}
}

func (o MountOptions) sysfs() specs.Mount {
	opts := append(o.access(), "nosuid", "noexec", "nodev")
	if o.UserNS && o.NoNetNS {
		// sysfs shows a network namespace; only its owner may mount one.
		return specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: append(opts, "rbind")}
	}
	return specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: opts}
}

func (o MountOptions) ipc() []specs.Mount {
	if o.HostIPC {
		bind := []string{"rbind", "nosuid", "noexec", "nodev"}
		return []specs.Mount{
			{Destination: "/dev/mqueue", Type: "bind", Source: "/dev/mqueue", Options: bind},
			{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: bind},
		}
	}
	size := o.ShmSize
	if size <= 0 {
		size = DefaultShmSize
	}
	return []specs.Mount{
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)}},
	}
}
