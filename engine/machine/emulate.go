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

// Way is how programs of another architecture are run.
type Way = emulate.Way

// Serve has programs of an architecture run, for containers of a rung; nil for one
// that is not known. registered: a handler of the machine's was made for it.
func (m *Machine) Serve(isolation, arch string) (way *Way, registered bool, err error) {
	a, known := emulate.Lookup(arch)
	if !known {
		return nil, false, nil
	}
	w, err := m.Emulation(isolation).Serve(a)
	return &w, w.How == emulate.Registered, err
}

// Ways tells of every architecture how its programs would run.
func Ways(root, isolation string, report *probe.Report) []Way {
	m := Emulation(root, isolation, report)
	var out []Way
	for _, a := range emulate.Archs() {
		out = append(out, m.Look(a))
	}
	return out
}
