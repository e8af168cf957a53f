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
	all, err := d.find()
	if err != nil {
		t.Skipf("missing feature: control groups: %v", err)
	}
	if !usable(all) {
		t.Skip("missing feature: control groups, version 2, with controllers")
	}
	limitstest.Suite(t, func() limits.Driver { return New(Options{}) })
}

func usable(all []cgfile.Hierarchy) bool {
	return slices.ContainsFunc(all, func(h cgfile.Hierarchy) bool { return h.V2 })
}
