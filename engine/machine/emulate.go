package machine

import (
	"path/filepath"

	"coracle/backends/emulate"
	"coracle/engine/spec"
	"coracle/probe"
)

// Emulation is where programs of other architectures are made to run, for
// containers of a rung of isolation. One that has a user namespace keeps its
// handler there, where the kernel can, and leaves the machine's alone.
func (m *Machine) Emulation(isolation string) emulate.Machine {
	own := m.report.Get(probe.BinfmtUserNS)
	e := emulate.Machine{
		// Containers' programs are below it, so they may be executed there.
		Scratch: filepath.Join(m.root, "fs"),
		User:    spec.UserNS(isolation) && own.State == probe.Yes,
	}
	e.Root = !e.User && m.report.Has(probe.Root)
	if spec.UserNS(isolation) {
		e.NoUser = own.Why
	}
	return e
}
