package command

import (
	"fmt"
	"strings"

	"coracle/backends"
)

// parseWish reads "rootfs=copy,isolation=chroot".
func parseWish(s string) (backends.Wish, error) {
	wish := backends.Wish{}
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, rung, ok := strings.Cut(part, "=")
		c := backends.Concern(name)
		if !ok || rung == "" {
			return nil, fmt.Errorf("invalid backend %q: want CONCERN=RUNG", part)
		}
		switch c {
		case backends.Isolation, backends.Rootfs, backends.Limits, backends.Wiring, backends.Entering:
		default:
			return nil, fmt.Errorf("invalid backend %q: the concerns are isolation, rootfs, limits, wiring, entering", part)
		}
		if had := wish[c]; had != "" && had != rung {
			return nil, fmt.Errorf("invalid backend %q: %s was already given", part, c)
		}
		wish[c] = rung
	}
	return wish, nil
}
