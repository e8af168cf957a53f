package cgroup1

import (
	"os"
	"path/filepath"
	"testing"

	"coracle/backends/limits"
	"coracle/backends/limits/limitstest"
)

func TestMain(m *testing.M) { limitstest.Main(m.Run) }

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root, to make control groups")
	}
	opt := mountable(t)
	if all, err := New(opt).hierarchies(); err != nil || len(all) == 0 {
		t.Skipf("missing feature: controllers of control groups, version 1 (error: %v)", err)
	}
	limitstest.Suite(t, func() limits.Driver { return New(opt) })
}

// mountable has the driver mount controllers for the test where the machine has
// mounted none.
func mountable(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { limitstest.Unmount(dir) })
	return Options{MountDir: filepath.Join(dir, "cgroup")}
}

// TestUnlimited: what kernels say where there is no limit.
func TestUnlimited(t *testing.T) {
	for limit, want := range map[uint64]bool{
		9223372036854771712: true, 9223372036854775807: true, 8796093018112: true, // 64 bits, before 3.19, 32 bits
		64 << 20: false, 1 << 43: false,
	} {
		if unlimited(limit) != want {
			t.Errorf("%d: %v", limit, !want)
		}
	}
}
