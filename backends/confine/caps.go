package confine

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const allCaps = "ALL"

// capNames are the capabilities in the order of their numbers
// (include/uapi/linux/capability.h).
func capNames() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
		"CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
		"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
		"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
		"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
		"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
		"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
		"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
		"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
		"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
		"CAP_CHECKPOINT_RESTORE",
	}
}

// DefaultCaps are the 14 capabilities that Docker gives to a container.
func DefaultCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER",
		"CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
		"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
		"CAP_AUDIT_WRITE",
	}
}

// InvalidError is a wish that cannot be understood or granted; its text is
// Docker's.
type InvalidError struct{ Msg string }

func (e *InvalidError) Error() string { return e.Msg }

// AvailableCaps lists, by number, the capabilities that this kernel knows and
// that are in our own bounding set: what a privileged container gets.
func AvailableCaps() []string {
	names := capNames()
	out := make([]string, 0, len(names))
	for n, name := range names {
		if inBounding(n) {
			out = append(out, name)
		}
	}
	return out
}

// inBounding asks the kernel, since /proc/sys/kernel/cap_last_cap is missing
// on 2.6.32 and may not be mounted elsewhere. A capability that the kernel
// does not know is EINVAL.
func inBounding(n int) bool {
	r, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
	return err == nil && r == 1
}

// Caps are the capabilities of a container whose first process is root:
// Docker's defaults, with add and drop applied by Docker's rules. For another
// user pass the result to [ForUser]. A default that is not available here is
// left out; one that was asked for by name is an *InvalidError.
func Caps(add, drop []string, privileged bool) (*specs.LinuxCapabilities, error) {
	avail := AvailableCaps()
	adds, err := normalise(add, avail)
	if err != nil {
		return nil, &InvalidError{"invalid CapAdd: " + err.Error()}
	}
	drops, err := normalise(drop, nil)
	if err != nil {
		return nil, &InvalidError{"invalid CapDrop: " + err.Error()}
	}
	var list []string
	switch {
	case privileged:
		list = avail
	case slices.Contains(adds, allCaps):
		if !slices.Contains(drops, allCaps) {
			list = without(avail, drops)
		}
	case slices.Contains(drops, allCaps):
		list = adds
	default:
		list = append(without(intersect(DefaultCaps(), avail), drops), adds...)
	}
	list = unique(list)
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}, nil
}

// ForUser is c as execve(2) would leave it for uid: any other user than root
// keeps the bounding set only, as Docker has it.
func ForUser(c *specs.LinuxCapabilities, uid uint32) *specs.LinuxCapabilities {
	if uid == 0 {
		return c
	}
	return &specs.LinuxCapabilities{Bounding: c.Bounding}
}

// normalise spells names Docker's way. A nil avail accepts every known name:
// to drop what is not there is no error.
func normalise(names, avail []string) ([]string, error) {
	known := capNames()
	out := make([]string, 0, len(names))
	for _, n := range names {
		n = strings.ToUpper(strings.TrimSpace(n))
		if n == allCaps || n == "CAP_"+allCaps {
			out = append(out, allCaps)
			continue
		}
		if !strings.HasPrefix(n, "CAP_") {
			n = "CAP_" + n
		}
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("unknown capability: %q", n)
		}
		if avail != nil && !slices.Contains(avail, n) {
			return nil, fmt.Errorf("capability not supported by your kernel or not available in the current environment: %q", n)
		}
		out = append(out, n)
	}
	return out, nil
}

func without(list, drop []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if !slices.Contains(drop, s) {
			out = append(out, s)
		}
	}
	return out
}

func intersect(list, keep []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if slices.Contains(keep, s) {
			out = append(out, s)
		}
	}
	return out
}

func unique(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// capMask turns names into bits; names that we do not know are ignored, as
// the runtime spec has it.
func capMask(names []string) uint64 {
	known := capNames()
	var m uint64
	for _, n := range names {
		if i := slices.Index(known, n); i >= 0 {
			m |= 1 << uint(i)
		}
	}
	return m
}
