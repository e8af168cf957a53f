package confine

import (
	"os"
	"strconv"
	"strings"
)

// MaskedPaths are the paths that a container sees empty: Docker's.
func MaskedPaths() []string {
	paths := []string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts", // moby 28.1: timing of keystrokes and the network
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/devices/virtual/powercap", // CVE-2020-8694: power as a side channel
		"/sys/firmware",
	}
	return append(paths, thermal()...)
}

// thermal are the throttle counters of each processor, a side channel that
// Docker masks from 28 on.
func thermal() []string {
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return nil
	}
	var out []string
	for _, part := range strings.Split(strings.TrimSpace(string(b)), ",") {
		lo, hi, ranged := strings.Cut(part, "-")
		if !ranged {
			hi = lo
		}
		first, err1 := strconv.Atoi(lo)
		last, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil {
			continue
		}
		for n := first; n <= last; n++ {
			p := "/sys/devices/system/cpu/cpu" + strconv.Itoa(n) + "/thermal_throttle"
			if _, err := os.Lstat(p); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// ReadonlyPaths are the paths that a container may read and not write:
// Docker's.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
