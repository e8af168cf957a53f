package namespaces

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
	"coracle/backends/isolate/stage"
	"coracle/probe"
)

func TestMain(m *testing.M) {
	isolatetest.Main(m, map[string]func(){stage.Name: stage.Main})
}

func TestConformance(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces without a user namespace")
	}
	isolatetest.Run(t, func(*testing.T) isolatetest.Harness {
		d := New()
		return isolatetest.Harness{Driver: d, PIDNamespace: true, Enters: enters, Direct: d.direct.Load}
	})
}

var enters = []probe.Feature{probe.NSMountSetns, probe.NSPIDSetns}

// TestStaged is of processes that enter by a second stage, as on older kernels.
func TestStaged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces without a user namespace")
	}
	isolatetest.Entering(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: &Driver{staged: true}, PIDNamespace: true, Enters: enters}
	})
}

func TestAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces without a user namespace")
	}
	h := func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(), PIDNamespace: true, Agent: true}
	}
	isolatetest.Agent(t, h)
}
