//go:build !netstack

package backends

// netstackRungs are none: gVisor's stack makes the file 4.3 MB larger, which is
// more than its budget (crossbuild/inspect) has left. Build with the tag netstack
// to have them.
func netstackRungs() []Rung { return nil }
