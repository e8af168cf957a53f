package chroot

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
	"coracle/backends/isolate/stage"
)

func TestMain(m *testing.M) {
	isolatetest.Main(m, map[string]func(){stage.Name: stage.Main})
}

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	for name, opt := range map[string]Options{"private mounts": {MountNS: true}, "no mount namespaces": {}} {
		t.Run(name, func(t *testing.T) {
			isolatetest.Run(t, func(*testing.T) isolatetest.Harness { return isolatetest.Harness{Driver: New(opt)} })
		})
	}
}
