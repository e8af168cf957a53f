package inside

import (
	"errors"
	"fmt"
	"os"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// In does it in the network namespace of process pid, by a thread that ends
// with it. It needs setns(2) and root; a user namespace cannot be joined so
// ([Joined]).
func In(pid int, n *isolate.Net) (map[string]*os.File, error) {
	ns, err := sys.Namespace(pid, "net")
	if errors.Is(err, os.ErrNotExist) {
		if _, own := os.Stat("/proc/self/ns/net"); own != nil {
			return nil, fmt.Errorf("join the network namespace of a container that runs: this kernel cannot (setns, Linux 3.0): %w", unix.ENOSYS)
		}
	}
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var names []string
	var fds []int
	if e := sys.InNetwork(ns, func() { names, fds, err = Do(n) }); e != nil {
		return nil, fmt.Errorf("join network namespace: %w", e)
	}
	if err != nil {
		return nil, err
	}
	return isolate.NetFiles(names, fds), nil
}
