// Package inspect tells by a binary's own bytes whether it is what a release
// promises: one static, stripped file for one kind of machine.
package inspect

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"

	"coracle/crossbuild/target"
)

// MaxSize is the budget for one file, in bytes.
const MaxSize = 24_000_000

// Check returns all that is wrong with the file, joined.
func Check(file string, t target.Target) error {
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var all []error
	wrong := func(format string, args ...any) { all = append(all, fmt.Errorf(file+": "+format, args...)) }
	if fi.Size() > MaxSize {
		wrong("%d bytes, the budget is %d", fi.Size(), MaxSize)
	}
	machine, class := machineOf(t.GOARCH)
	if f.Machine != machine || f.Class != class || f.Type != elf.ET_EXEC {
		wrong("%v %v %v, want %v %v %v", f.Machine, f.Class, f.Type, machine, class, elf.ET_EXEC)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			wrong("not static: it has a %v segment", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			wrong("not stripped: it has the section %s", s.Name)
		}
	}
	return errors.Join(append(all, checkBuild(file, t)...)...)
}

// checkBuild compares what the toolchain wrote down about the build. That is
// where the variant is to be seen: softfloat and sse2, and ARM's three kinds,
// are the same to ELF as the Go linker writes it.
func checkBuild(file string, t target.Target) []error {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", file, err)}
	}
	have := map[string]string{}
	for _, s := range info.Settings {
		have[s.Key] = s.Value
	}
	var all []error
	for key, want := range map[string]string{
		"GOOS": "linux", "GOARCH": t.GOARCH, t.VariantVar: t.Variant, "CGO_ENABLED": "0", "-trimpath": "true",
	} {
		if have[key] != want {
			all = append(all, fmt.Errorf("%s: built with %s=%s, want %s", file, key, have[key], want))
		}
	}
	return all
}

func machineOf(goarch string) (elf.Machine, elf.Class) {
	switch goarch {
	case "amd64":
		return elf.EM_X86_64, elf.ELFCLASS64
	case "386":
		return elf.EM_386, elf.ELFCLASS32
	case "arm":
		return elf.EM_ARM, elf.ELFCLASS32
	}
	return elf.EM_AARCH64, elf.ELFCLASS64
}
