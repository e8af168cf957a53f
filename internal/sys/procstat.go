package sys

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"time"
)

// Stat is what we read of /proc/PID/stat (proc(5)).
type Stat struct {
	State   byte   // field 3: 'R', 'S', 'Z' …
	Parent  int    // field 4
	Threads int    // field 20, the first one counted also when it has ended
	Start   uint64 // field 22, clock ticks since boot
}

// Ended tells whether the process is a zombie or less. One whose first thread alone is
// a zombie is neither: see [OfProcess].
func (s Stat) Ended() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// ProcStat reads it for pid; ok is false where there is no such process.
func ProcStat(pid int) (s Stat, ok bool) {
	// It has no thread, not even that which ended, for the moment in which one is taken
	// out: the last one, then there is nobody next time, or the first one, whose place
	// another has taken.
	for range 20 {
		if s, ok = readStat(pid); !ok || s.Threads > 0 {
			break
		}
	}
	return s, ok
}

func readStat(pid int) (s Stat, ok bool) {
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
	s.Threads, _ = strconv.Atoi(string(f[17]))
	s.Start, _ = strconv.ParseUint(string(f[19]), 10, 64)
	return s, true
}

// OfProcess asks get of the directory /proc/PID, and where that has no such file, of those
// of the process's other threads. The first thread of a process may have ended before
// the others, and has also while another of them executes a program, which then takes
// its place (de_thread in the kernel's fs/exec.c): its state is that of a zombie, and
// it has neither namespaces nor a root.
func OfProcess[T any](pid int, get func(dir string) (T, error)) (v T, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	// More than once: places may be taken while we look.
	for range 20 {
		if v, err = get(dir); !errors.Is(err, os.ErrNotExist) {
			return v, err
		}
		s, ok := ProcStat(pid)
		if !ok || s.Ended() {
			return v, err
		}
		tasks, _ := os.ReadDir(dir + "/task")
		for _, task := range tasks {
			if v, err := get(dir + "/task/" + task.Name()); err == nil {
				return v, nil
			}
		}
		time.Sleep(50 * time.Microsecond)
	}
	return v, err
}

// Namespace opens a namespace of a process; name is that of its file in /proc/PID/ns.
func Namespace(pid int, name string) (*os.File, error) {
	return OfProcess(pid, func(dir string) (*os.File, error) { return os.Open(dir + "/ns/" + name) })
}
