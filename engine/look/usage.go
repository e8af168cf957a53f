package look

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"coracle/backends/limits"

	"github.com/moby/moby/api/types/container"
)

// Usage sums what processes use, in the shape of a control group's figures. What
// ended processes used is not in it, nor what only root may read.
func Usage(pids []int) limits.Stats {
	s := limits.Stats{Have: map[string]bool{"cpu": true, "memory": true, "pids": true}}
	for _, pid := range pids {
		p, ok := Read(pid)
		if !ok {
			continue
		}
		s.CPUNanos += p.Ticks * (1e9 / hertz)
		s.MemoryBytes += private(pid, p.RSS)
		s.PIDs += uint64(p.Threads)
		if r, w, ok := io(pid); ok {
			s.ReadBytes, s.WriteBytes, s.Have["blkio"] = s.ReadBytes+r, s.WriteBytes+w, true
		}
	}
	return s
}

// private is what a process has by itself, and its share of what it shares; else
// all that is resident.
func private(pid int, rss uint64) uint64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return rss
	}
	if n, ok := key(string(data), "Pss:"); ok {
		return n << 10
	}
	return rss
}

func io(pid int) (r, w uint64, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		return 0, 0, false
	}
	r, ok = key(string(data), "read_bytes:")
	w, _ = key(string(data), "write_bytes:")
	return r, w, ok
}

// key is the number after a word at the beginning of a line.
func key(text, word string) (uint64, bool) {
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == word {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// Networks are the counters of the interfaces that a process sees, without the
// loopback.
func Networks(pid int) map[string]container.NetworkStats {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil
	}
	out := map[string]container.NetworkStats{}
	for line := range strings.SplitSeq(string(data), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || name == "lo" || len(f) < 12 {
			continue
		}
		n := func(i int) uint64 { v, _ := strconv.ParseUint(f[i], 10, 64); return v }
		out[name] = container.NetworkStats{
			RxBytes: n(0), RxPackets: n(1), RxErrors: n(2), RxDropped: n(3),
			TxBytes: n(8), TxPackets: n(9), TxErrors: n(10), TxDropped: n(11),
		}
	}
	return out
}

// Sample puts figures into Docker's shape.
func Sample(s limits.Stats) container.StatsResponse {
	m := ReadMachine()
	cpus := m.CPUs
	if cpus == 0 {
		cpus = runtime.NumCPU()
	}
	r := container.StatsResponse{OSType: "linux", Read: time.Now().UTC()}
	r.CPUStats.CPUUsage.TotalUsage, r.CPUStats.SystemUsage, r.CPUStats.OnlineCPUs = s.CPUNanos, m.CPU, uint32(cpus)
	r.MemoryStats.Usage, r.MemoryStats.Limit = s.MemoryBytes, s.MemoryLimit
	if r.MemoryStats.Limit == 0 || r.MemoryStats.Limit > m.Memory {
		r.MemoryStats.Limit = m.Memory
	}
	r.PidsStats = container.PidsStats{Current: s.PIDs, Limit: s.PIDsLimit}
	if s.Have["blkio"] {
		r.BlkioStats.IoServiceBytesRecursive = []container.BlkioStatEntry{{Op: "read", Value: s.ReadBytes}, {Op: "write", Value: s.WriteBytes}}
	}
	return r
}
