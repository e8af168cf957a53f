// Package version says which coracle this is.
package version

import (
	"runtime/debug"
	"time"
)

// Version, Commit and Date are set at link time (Makefile); Get fills in what a plain
// `go build` leaves as it is here.
var (
	Version = "dev"
	Commit  = "unknown"
	Date    = "unknown" // of the commit, in RFC 3339
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

// Built is the time of the commit, in the form that `docker version` has;
// "unknown" if nobody noted it.
func Built() string {
	date := Date
	if info, ok := debug.ReadBuildInfo(); ok && date == "unknown" {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				date = s.Value
			}
		}
	}
	t, err := time.Parse(time.RFC3339, date)
	if err != nil {
		return date
	}
	return t.UTC().Format(time.ANSIC)
}
