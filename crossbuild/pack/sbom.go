package pack

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/crossbuild/target"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// materials writes the bill of materials of one binary, in CycloneDX 1.6: the
// modules that the toolchain says it linked, with their package URLs.
func (r Release) materials(t target.Target) error {
	binary := filepath.Join(r.Dir, t.File())
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	sum, err := sumFile(binary)
	if err != nil {
		return err
	}
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	self := cdx.Component{
		BOMRef: "coracle", Type: cdx.ComponentTypeApplication, Name: t.File(), Version: r.Version,
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	bom.Metadata = &cdx.Metadata{Timestamp: r.Time.UTC().Format(time.RFC3339), Component: &self}
	components := []cdx.Component{goModule("std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if strings.HasPrefix(m.Path, "./") {
			continue // in the place of somebody's module stands code of this tree
		}
		components = append(components, goModule(m.Path, m.Version))
	}
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.BOMRef, b.BOMRef) })
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	return writeFile(binary+".cdx.json", func(w *os.File) error {
		return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, bom.SpecVersion)
	})
}

// goModule names a module as the package URL specification has it for Go.
func goModule(path, version string) cdx.Component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl, Scope: cdx.ScopeRequired}
}
