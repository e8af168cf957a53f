package namespaces

import (
	"os"
	"testing"

	"coracle/backends/isolate/isolatetest"
	"coracle/backends/isolate/stage"
	"coracle/probe"
	"coracle/probe/probetest"
)

func TestMain(m *testing.M) {
	isolatetest.Main(m, map[string]func(){stage.Name: stage.Main})
}

// need skips where the driver is no choice, as backends.All has it.
func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces without a user namespace")
	}
	probetest.Need(t, probe.NSMount, probe.NSPID, probe.NSIPC, probe.NSUTS)
}

func TestConformance(t *testing.T) {
	need(t)
	isolatetest.Run(t, func(*testing.T) isolatetest.Harness {
		d := New()
		return isolatetest.Harness{Driver: d, PIDNamespace: true, Enters: enters, Direct: d.direct.Load}
	})
}

var enters = []probe.Feature{probe.NSMountSetns, probe.NSPIDSetns}

// TestStaged is of processes that enter by a second stage, as on older kernels.
func TestStaged(t *testing.T) {
	need(t)
	isolatetest.Entering(t, func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: &Driver{staged: true}, PIDNamespace: true, Enters: enters}
	})
}

func TestAgent(t *testing.T) {
	need(t)
	h := func(*testing.T) isolatetest.Harness {
		return isolatetest.Harness{Driver: New(), PIDNamespace: true, Agent: true}
	}
	isolatetest.Agent(t, h)
}
