package namespaces

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
)

func TestHostile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces without a user namespace")
	}
	isolatetest.Hostile(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(), PIDNamespace: true}
	})
}
