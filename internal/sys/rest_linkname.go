//go:build coracle_linkname

package sys

import _ "unsafe" // for go:linkname

// forcegcperiod is how long the runtime goes without a collection; its observer
// thread (sysmon) wakes up twice in that time although nothing runs.
//
//go:linkname forcegcperiod runtime.forcegcperiod
var forcegcperiod int64

// Rest has a process that stays, and mostly waits, not wake up by itself: every
// minute for Go's runtime to look around, every second minute for a collection of
// garbage that nobody has made. Memory is collected when the heap has grown, as
// ever.
//
// The variable is not part of Go's API: the linker lets us have it by
// -checklinkname=0, which goes with the build tag (Makefile). Should a release of
// Go have no such variable, take both away.
func Rest() { forcegcperiod = 1 << 62 }
