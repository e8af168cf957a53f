//go:build !coracle_linkname

package sys

// Rest does nothing in a binary that was linked without -checklinkname=0.
func Rest() {}
