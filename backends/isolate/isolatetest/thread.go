package isolatetest

import (
	"runtime"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// lockAndEnd ends an operating system thread: a goroutine that returns while it
// is locked takes its thread along.
func lockAndEnd() { runtime.LockOSThread() }
