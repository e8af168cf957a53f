package userns

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
)

func TestHostile(t *testing.T) {
	if os.Geteuid() == 0 {
		runAs(t, ordinary, "^TestHostile$")
		return
	}
	isolatetest.Hostile(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(Maps()), PIDNamespace: true, UserNS: true}
	})
}
