package machine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Available refuses lists of processors and of memory nodes that cannot be read, or
// that name one which is not there; the words are Docker's.
func Available(cpus, mems string) error {
	for _, l := range []struct{ list, what, whats, online string }{
		{cpus, "cpuset cpus", "CPUs", "/sys/devices/system/cpu/online"},
		{mems, "cpuset mems", "memory nodes", "/sys/devices/system/node/online"},
	} {
		if l.list == "" {
			continue
		}
		want, err := numbers(l.list)
		if err != nil {
			return fmt.Errorf("Invalid value %s for %s: %w", l.list, l.what, err)
		}
		data, err := os.ReadFile(l.online)
		text := strings.TrimSpace(string(data))
		have, bad := numbers(text)
		if err != nil || bad != nil || text == "" {
			continue // nobody says: the kernel will
		}
		for n := range want {
			if !have[n] {
				return fmt.Errorf("Requested %s are not available - requested %s, available: %s", l.whats, l.list, text)
			}
		}
	}
	return nil
}

// mostCPUs bounds what a list may name, as the kernel's masks do.
const mostCPUs = 8192

// numbers reads a list like "0-2,7" (cpuset(7), "List format").
func numbers(list string) (map[int]bool, error) {
	all := map[int]bool{}
	for _, part := range strings.Split(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || low < 0 || high < low || high >= mostCPUs {
			return nil, fmt.Errorf("invalid format: %s", list)
		}
		for n := low; n <= high; n++ {
			all[n] = true
		}
	}
	return all, nil
}
