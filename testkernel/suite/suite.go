// Package suite says what is run on every kernel that stands for others, real
// or pretended: the one list of packages, and the tests of the product as a
// whole, which are this package's own.
//
// Its tests run the product, which CORACLE names; where that is empty they build
// it. They need no other program, so that they run in a machine that holds
// nothing else:
//
//	go test -exec 'testkernel -nosys 2.6.32' $(go run ./testkernel/suite/list)
//
// What belongs to a single kernel, and not to the product on it, is not here.
package suite

// Packages have the tests that make the suite, cheapest first: what the kernel
// can do, the conformance suites of each contract against each driver, wiring, and the
// product from run to stop on the rung that it gets.
var Packages = []string{
	"coracle/probe",
	"coracle/backends",
	"coracle/backends/confine",
	"coracle/backends/limits/rlimits",
	"coracle/backends/limits/cgroup1",
	"coracle/backends/limits/cgroup2",
	"coracle/backends/isolate/agent",
	"coracle/backends/isolate/namespaces",
	"coracle/backends/isolate/userns",
	"coracle/backends/isolate/chroot",
	"coracle/fs/copytree",
	"coracle/fs/reflink",
	"coracle/fs/overlay",
	"coracle/fs/aufs",
	"coracle/net/hostports",
	"coracle/net/bridge",
	"coracle/net/netstack",
	"coracle/testkernel/suite",
}
