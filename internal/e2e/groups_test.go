package e2e

import (
	"os"
	"strings"
	"testing"

	"coracle/probe"
	"coracle/probe/probetest"
)

// TestOwnGroups: a program that sizes itself by its limits, as Java does, finds
// them, and no group but its own, with a namespace of groups and without one.
func TestOwnGroups(t *testing.T) {
	needRoot(t)
	probetest.Need(t, probe.Cgroup1Memory)
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		t.Skip("missing feature: /sys/fs/cgroup, a place for control groups (Linux 2.6.36)")
	}
	m := newMachine(t, "", "isolation=namespaces,limits=cgroup1", 0)
	for _, ns := range []string{"private", "host"} {
		if ns == "private" && !probetest.Report(t, t.TempDir()).Has(probe.NSCgroup) {
			continue
		}
		out := m.ok("run", "--rm", net, "--cgroupns="+ns, "-m", "20m", "box", "sh", "-c",
			"cat /sys/fs/cgroup/memory/memory.limit_in_bytes; cat /sys/fs/cgroup/memory/cgroup.procs; ls -l /sys/fs/cgroup/memory")
		limit, rest, _ := strings.Cut(out, "\n")
		pid, files, _ := strings.Cut(rest, "\n")
		if limit != "20971520" || pid != "1" || strings.Contains(files, "\ndr") {
			t.Errorf("--cgroupns=%s: %s", ns, out)
		}
	}
}
