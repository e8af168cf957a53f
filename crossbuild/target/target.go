// Package target is the list of machines that release files are made for.
package target

import (
	"fmt"
	"slices"
	"strings"
)

// Target is one release file: what it is compiled for, what packages of it are
// called, and on which machine it is tried.
type Target struct {
	Name string // of its files: coracle-linux-NAME
	// GOARCH with the variable that names its variant; the toolchain's own
	// meaning of them is in `go help environment`.
	GOARCH, VariantVar, Variant string
	// Deb and RPM are the distributions' names of the architecture; no package
	// of that kind is made where it is "". Debian's i386 and armhf are older
	// machines than the Go names that sound alike.
	Deb, RPM string
	CPU      string // the oldest processor that it is for, in qemu's words
	Machines string // which machines, for the README
}

// All are the targets, in the order in which they are made and listed.
func All() []Target {
	return []Target{
		{"amd64", "amd64", "GOAMD64", "v1", "amd64", "x86_64", "qemu64",
			"every 64-bit PC"},
		{"386", "386", "GO386", "sse2", "", "i686", "coreduo",
			"32-bit PCs from the Pentium 4 and Athlon 64 on (`grep sse2 /proc/cpuinfo`)"},
		{"386-softfloat", "386", "GO386", "softfloat", "i386", "i386", "pentium",
			"older 32-bit PCs: Pentium MMX, Pentium II and III, Athlon XP, Geode, VIA C3"},
		{"armv5", "arm", "GOARM", "5", "armel", "armv5tel", "pxa250",
			"ARM without floating point: Kirkwood and older NAS boxes, Debian armel"},
		{"armv6", "arm", "GOARM", "6", "armhf", "armv6hl", "arm1176",
			"Raspberry Pi 1 and Zero; Raspberry Pi OS and Debian armhf"},
		{"armv7", "arm", "GOARM", "7", "", "armv7hl", "cortex-a8",
			"32-bit ARM from Cortex-A on: BeagleBone, Raspberry Pi 2"},
		{"arm64", "arm64", "GOARM64", "v8.0", "arm64", "aarch64", "cortex-a53",
			"64-bit ARM: servers, Raspberry Pi 3 and later"},
	}
}

// Environ is what the toolchain is told.
func (t Target) Environ() []string {
	return []string{"GOOS=linux", "GOARCH=" + t.GOARCH, t.VariantVar + "=" + t.Variant, "CGO_ENABLED=0"}
}

// File is the name of the bare binary.
func (t Target) File() string { return "coracle-linux-" + t.Name }

// Pick returns the targets of those names; all of them for none.
func Pick(names []string) ([]Target, error) {
	all := All()
	if len(names) == 0 {
		return all, nil
	}
	var picked []Target
	for _, name := range names {
		i := slices.IndexFunc(all, func(t Target) bool { return t.Name == name })
		if i < 0 {
			var known []string
			for _, t := range all {
				known = append(known, t.Name)
			}
			return nil, fmt.Errorf("no target %q: there are %s", name, strings.Join(known, ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

// Table is the list for the README, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| file | machines | .deb | .rpm |\n|---|---|---|---|\n")
	for _, t := range All() {
		deb := t.Deb
		if deb == "" {
			deb = "–"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", t.File(), t.Machines, deb, t.RPM)
	}
	return b.String()
}
