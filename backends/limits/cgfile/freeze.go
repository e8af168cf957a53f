package cgfile

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalAll sends sig once to every process that list names, again and again
// until it names no new one, so that what is forked meanwhile is reached too.
// With freeze, which may be nil, the group stands still in between.
func SignalAll(sig syscall.Signal, list func() ([]int, error), freeze func(on bool) error) error {
	frozen := freeze != nil && freeze(true) == nil
	seen := map[int]bool{}
	var first error
	// A fork bomb that cannot be frozen may outrun us; bounded, and the caller
	// sees by its list that it has to come back.
	for range 100 {
		pids, err := list()
		if err != nil {
			first = err
			break
		}
		fresh := false
		for _, pid := range pids {
			if seen[pid] {
				continue
			}
			seen[pid], fresh = true, true
			if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) && first == nil {
				first = err
			}
		}
		if !fresh || frozen {
			break
		}
	}
	if frozen {
		if err := freeze(false); err != nil && first == nil {
			first = err
		}
	}
	return first
}
