package cgroup2

import (
	"os"
	"slices"
	"testing"

	"coracle/backends/limits"
	"coracle/backends/limits/cgfile"
	"coracle/backends/limits/limitstest"
)

func TestMain(m *testing.M) { limitstest.Main(m.Run) }

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to make control groups")
	}
	d := New(Options{})
	if all, err := d.find(); err != nil || !usable(all) {
		t.Skipf("missing feature: control groups, version 2 (error: %v)", err)
	}
	limitstest.Suite(t, func() limits.Driver { return New(Options{}) })
}

func usable(all []cgfile.Hierarchy) bool {
	return slices.ContainsFunc(all, func(h cgfile.Hierarchy) bool { return h.V2 })
}
