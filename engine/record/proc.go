package record

import (
	"coracle/internal/sys"
	"coracle/internal/version"
)

// StartTime is when process pid was started, in clock ticks since boot; 0 where
// there is no such process, or only its zombie.
func StartTime(pid int) uint64 {
	s, ok := sys.ProcStat(pid)
	if !ok || s.Ended() {
		return 0
	}
	return s.Start
}

// CloseInherited closes what the caller of a process that stays left open for it
// by mistake, above descriptor last: a test program's pipe, which would otherwise
// not end before the container does.
func CloseInherited(last int) { _ = sys.CloseInherited(last) }

// Program is the path by which this program starts itself again as a monitor.
func Program() (string, error) {
	path, _, err := sys.Self()
	return path, err
}

// Version is this program's, as it stands in what it says of itself.
func Version() string { return version.Version }
