package format

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Stats is a row of stats. The fields are in the order of `--format json`.
type Stats struct {
	BlockIO, CPUPerc, Container, ID, MemPerc, MemUsage, Name, NetIO, PIDs string
}

// StatsList is how stats prints rows.
func StatsList(format string) List {
	return List{
		Format: format,
		Table:  "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
		Header: Header{
			"ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
			"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
		},
	}
}

// StatsRow makes a row of s, by Docker's arithmetic. ref is how the container was
// named.
func StatsRow(ref string, s *container.StatsResponse, trunc bool) Stats {
	id := s.ID
	if trunc {
		id = ShortID(id)
	}
	if ref == s.ID {
		ref = id
	}
	var read, written, in, out, share uint64
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch strings.ToLower(e.Op) {
		case "read":
			read += e.Value
		case "write":
			written += e.Value
		}
	}
	for _, n := range s.Networks {
		in, out = in+n.RxBytes, out+n.TxBytes
	}
	memory := 0.0
	if share = s.MemoryStats.Limit; share > 0 {
		memory = 100 * float64(s.MemoryStats.Usage) / float64(share)
	}
	pair := func(a, b uint64) string {
		return units.HumanSizeWithPrecision(float64(a), 3) + " / " + units.HumanSizeWithPrecision(float64(b), 3)
	}
	return Stats{
		ID: id, Container: ref, Name: strings.TrimPrefix(s.Name, "/"),
		CPUPerc:  fmt.Sprintf("%.2f%%", cpuShare(s)),
		MemUsage: units.BytesSize(float64(s.MemoryStats.Usage)) + " / " + units.BytesSize(float64(s.MemoryStats.Limit)),
		MemPerc:  fmt.Sprintf("%.2f%%", memory),
		NetIO:    pair(in, out), BlockIO: pair(read, written),
		PIDs: fmt.Sprint(s.PidsStats.Current),
	}
}

// cpuShare is the share of one processor, in hundredths.
func cpuShare(s *container.StatsResponse) float64 {
	used := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	all := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	if s.PreCPUStats.SystemUsage == 0 || used <= 0 || all <= 0 {
		return 0
	}
	return used / all * float64(s.CPUStats.OnlineCPUs) * 100
}
