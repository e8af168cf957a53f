package nosys

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a release of kernel.org: two or three numbers.
type Version [3]int

// ParseVersion reads "2.6.32", "3.10".
func ParseVersion(s string) (Version, error) {
	var v Version
	words := strings.Split(s, ".")
	if len(words) < 2 || len(words) > 3 {
		return v, fmt.Errorf("kernel version %q: want one like 2.6.32 or 3.10", s)
	}
	for i, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil || n < 0 {
			return v, fmt.Errorf("kernel version %q: want one like 2.6.32 or 3.10", s)
		}
		v[i] = n
	}
	return v, nil
}

// Floor is the oldest kernel that the tables tell from older ones.
func Floor() Version { return Version{2, 6, 32} }

// Less tells whether v came before o.
func (v Version) Less(o Version) bool { return slices.Compare(v[:], o[:]) < 0 }

func (v Version) String() string {
	if v[2] == 0 && v[0] > 2 {
		return fmt.Sprintf("%d.%d", v[0], v[1])
	}
	return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
}
