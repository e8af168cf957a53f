// Package look is what can be seen of a container's processes in /proc: their list,
// as ps shows it, and what they use where no control group counts it. It changes
// nothing and needs no program of the host's.
package look

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// hertz is the kernel's unit of time in /proc, the same on every architecture of
// ours (USER_HZ, proc(5)).
const hertz = 100

// Process is one, by the names of proc(5).
type Process struct {
	PID, PPID, UID, GID int
	Comm                string
	Args                string // with blanks between; "[comm]" where there are none
	State               byte
	Session, TTY, TPGID int
	Nice, Threads       int
	Ticks               uint64 // user and system
	Start               uint64 // ticks after boot
	VSize               uint64 // bytes
	RSS                 uint64 // bytes
	Locked              bool
}

// Read reads one process; ok is false where there is none.
func Read(pid int) (p Process, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	data, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	from, to := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if from < 0 || to < from {
		return p, false
	}
	f := strings.Fields(string(data[to+1:]))
	if len(f) < 22 {
		return p, false
	}
	// Field 3 of proc(5) is f[0].
	n := func(field int) int { v, _ := strconv.Atoi(f[field-3]); return v }
	u := func(field int) uint64 { v, _ := strconv.ParseUint(f[field-3], 10, 64); return v }
	p = Process{
		PID: pid, PPID: n(4), Comm: string(data[from+1 : to]), State: f[0][0], Session: n(6), TTY: n(7), TPGID: n(8),
		Nice: n(19), Threads: n(20), Ticks: u(14) + u(15), Start: u(22), VSize: u(23),
	}
	if pages, err := strconv.ParseInt(f[24-3], 10, 64); err == nil && pages > 0 {
		p.RSS = uint64(pages) * uint64(os.Getpagesize())
	}
	p.UID, p.GID, p.Locked = ids(dir)
	cmdline, _ := os.ReadFile(dir + "/cmdline")
	p.Args = strings.TrimRight(strings.ReplaceAll(string(cmdline), "\x00", " "), " ")
	if p.Args == "" {
		p.Args = "[" + p.Comm + "]"
		if p.State == 'Z' {
			p.Args += " <defunct>"
		}
	}
	return p, true
}

// ids are the effective ones of /proc/PID/status, as ps shows them.
func ids(dir string) (uid, gid int, locked bool) {
	data, _ := os.ReadFile(dir + "/status")
	for line := range strings.SplitSeq(string(data), "\n") {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case key == "Uid" && len(f) > 1:
			uid, _ = strconv.Atoi(f[1])
		case key == "Gid" && len(f) > 1:
			gid, _ = strconv.Atoi(f[1])
		case key == "VmLck" && len(f) > 0:
			locked = f[0] != "0"
		}
	}
	return uid, gid, locked
}

// Machine is what is needed of the whole machine.
type Machine struct {
	Boot   time.Time
	Memory uint64 // bytes
	CPU    uint64 // nanoseconds that all processors were busy and idle, together
	CPUs   int
}

// ReadMachine reads it.
func ReadMachine() (m Machine) {
	data, _ := os.ReadFile("/proc/stat")
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "cpu":
			// user nice system idle iowait irq softirq: guest time is in user.
			for _, v := range f[1:min(len(f), 8)] {
				n, _ := strconv.ParseUint(v, 10, 64)
				m.CPU += n * (1e9 / hertz)
			}
		case strings.HasPrefix(f[0], "cpu"):
			m.CPUs++
		case f[0] == "btime" && len(f) > 1:
			n, _ := strconv.ParseInt(f[1], 10, 64)
			m.Boot = time.Unix(n, 0)
		}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	if f := strings.Fields(string(mem)); len(f) > 1 && f[0] == "MemTotal:" {
		n, _ := strconv.ParseUint(f[1], 10, 64)
		m.Memory = n << 10
	}
	return m
}
