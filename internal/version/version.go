// Package version says which coracle this is.
package version

import "runtime/debug"

// Version and Commit are set at link time (Makefile); Get fills in what a plain
// `go build` leaves as it is here.
var (
	Version = "dev"
	Commit  = "unknown"
)

// Get is the version and the commit, with what the toolchain noted where the
// linker was told nothing.
func Get() (version, commit string) {
	version, commit = Version, Commit
	if commit != "unknown" {
		return version, commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	if v := info.Main.Version; version == "dev" && v != "" && v != "(devel)" {
		version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return version, commit
}
