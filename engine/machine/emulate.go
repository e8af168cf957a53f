package machine

import (
	"path/filepath"

	"coracle/backends/emulate"
	"coracle/engine/spec"
	"coracle/probe"
)

// Emulation is where programs of other architectures are made to run, for
// containers of a rung of isolation.
func (m *Machine) Emulation(isolation string) emulate.Machine {
	return Emulation(m.root, isolation, m.report)
}

// Emulation is the same without a machine. A container that has a user namespace
// keeps its handler there, where the kernel can, and leaves the machine's alone.
func Emulation(root, isolation string, report *probe.Report) emulate.Machine {
	own := report.Get(probe.BinfmtUserNS)
	e := emulate.Machine{
		// Containers' programs are below it, so they may be executed there.
		Scratch: filepath.Join(root, "fs"),
		User:    spec.UserNS(isolation) && own.State == probe.Yes,
	}
	e.Root = !e.User && report.Has(probe.Root)
	if spec.UserNS(isolation) {
		e.NoUser = own.Why
	}
	return e
}
