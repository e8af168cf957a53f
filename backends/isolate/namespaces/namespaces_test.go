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
		return isolatetest.Harness{Driver: New(), PIDNamespace: true, Enters: []probe.Feature{probe.NSMountSetns, probe.NSPIDSetns}}
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
