package sys

import (
	"bytes"
	"os"
	"strconv"
)

// Stat is what we read of /proc/PID/stat (proc(5)).
type Stat struct {
	State  byte   // field 3: 'R', 'S', 'Z' …
	Parent int    // field 4
	Start  uint64 // field 22, clock ticks since boot
}

// Ended tells whether the process is a zombie or less.
func (s Stat) Ended() bool { return s.State == 'Z' || s.State == 'X' }

// ProcStat reads it for pid; ok is false where there is no such process.
func ProcStat(pid int) (s Stat, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, false
	}
	// The name in field 2 may hold anything, brackets and blanks included.
	f := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(f) < 20 {
		return s, false
	}
	s.State = f[0][0]
	s.Parent, _ = strconv.Atoi(string(f[1]))
	s.Start, _ = strconv.ParseUint(string(f[19]), 10, 64)
	return s, true
}
