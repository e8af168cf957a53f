package probe

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// Explain tells whether the report accounts for err, which an operation that
// needs features gave: "overlay: mount overlay: no such device; modprobe
// overlay", or "". So an operation is tried first, whatever the report says,
// and explained after.
//
// Of the features the first that does not work is named; one that was seen to
// work, or could not be told, explains nothing. Nor does any explain an error
// that a missing feature never gives (a full disk, a missing file).
func Explain(r *Report, err error, features ...Feature) string {
	if err == nil || r == nil || passing(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS) {
		return ""
	}
	for _, f := range features {
		res := r.Get(f)
		if res.State != No {
			continue
		}
		parts := []string{string(f) + ": " + res.Why}
		if res.Mend != "" {
			parts = append(parts, res.Mend)
		}
		return strings.Join(parts, "; ")
	}
	return ""
}
