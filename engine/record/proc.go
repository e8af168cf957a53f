package record

import (
	"bytes"
	"os"
	"strconv"
)

// StartTime is field 22 of /proc/PID/stat, in clock ticks since boot (proc(5));
// 0 where there is no such process, or only its zombie.
func StartTime(pid int) uint64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name in field 2 may hold anything, brackets and blanks included.
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0
	}
	fields := bytes.Fields(data[end+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0
	}
	n, _ := strconv.ParseUint(string(fields[19]), 10, 64)
	return n
}
