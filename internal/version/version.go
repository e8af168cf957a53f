// Package version says which coracle this is.
package version

// Version and Commit are set at link time (Makefile); a plain `go build` leaves
// them as they are here.
var (
	Version = "dev"
	Commit  = "unknown"
)
