// Package kernels gets kernels to test on: Debian's own images by apt, and ones
// built from Debian's sources with things missing. What it has got it keeps in a
// cache.
package kernels

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed kernels.tsv
var table string

// Kernel is a line of kernels.tsv.
type Kernel struct {
	Name    string
	Arch    string // Debian's name
	Machine string // QEMU's name
	Cgroups string // the versions that are mounted: 1, 2 or 1+2
	What    string
	suite   string
	pkg     string
}

// fromSource is the suite of kernels that are built here.
const fromSource = "source"

// All are the kernels in the table's order.
func All() []Kernel {
	var all []Kernel
	for line := range strings.Lines(table) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if line[0] != '#' && len(f) == 7 {
			all = append(all, Kernel{Name: f[0], Arch: f[1], Machine: f[2], Cgroups: f[3], suite: f[4], pkg: f[5], What: f[6]})
		}
	}
	return all
}

// Built tells whether k is built here from source.
func (k Kernel) Built() bool { return k.suite == fromSource }

// GOARCH is Go's name of the architecture.
func (k Kernel) GOARCH() string {
	switch k.Arch {
	case "i386":
		return "386"
	case "armhf", "armel":
		return "arm"
	}
	return k.Arch
}

// Named finds a kernel by name; "default" is the one for goarch.
func Named(name, goarch string) (Kernel, error) {
	if name == "default" {
		name = map[string]string{"amd64": "bookworm", "386": "686-pae", "arm": "armmp", "arm64": "arm64"}[goarch]
	}
	var names []string
	for _, k := range All() {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kernel{}, fmt.Errorf("no kernel is called %q; there are default, %s", name, strings.Join(names, ", "))
}
