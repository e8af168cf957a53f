package chroot

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
)

func TestHostile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	for name, opt := range map[string]Options{"private mounts": {MountNS: true}, "no mount namespaces": {}} {
		t.Run(name, func(t *testing.T) {
			isolatetest.Hostile(t, func(*testing.T) isolatetest.Harness { return isolatetest.Harness{Driver: New(opt)} })
		})
	}
}
