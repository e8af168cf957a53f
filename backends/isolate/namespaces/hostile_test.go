package namespaces

import (
	"testing"

	"coracle/backends/isolate/isolatetest"
)

func TestHostile(t *testing.T) {
	need(t)
	isolatetest.Hostile(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(), PIDNamespace: true}
	})
}
