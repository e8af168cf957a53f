// Package limits is the contract of the drivers that hold a container to its
// share of memory, processor, processes and I/O, and, where the kernel can,
// find, freeze and kill all of its processes.
package limits

import (
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Driver makes groups of processes with limits.
type Driver interface {
	// Name is the rung's name in backends/all.go.
	Name() string
	// Create makes the group of container id below parent ("" = ours) with
	// limits r. What this kernel cannot hold is returned, never hidden; with
	// an error nothing is left behind.
	Create(id, parent string, r *specs.LinuxResources) (Group, []Unhonoured, error)
	// Open finds the group of container id again, after a restart of ours.
	// A group that does not exist any more is an error that Is fs.ErrNotExist.
	Open(id, parent string) (Group, error)
}

// Unhonoured is a limit that was asked for and cannot be held.
type Unhonoured struct {
	Limit string // in the words of the flag: "--memory", "--cpus", "--pids-limit"
	Why   string
}

// Group is one container's group.
type Group interface {
	// Add puts a process in; all of its threads.
	Add(pid int) error
	// Rlimits are resource limits that stand in for what the group cannot hold.
	Rlimits() []specs.POSIXRlimit
	// Nice is the priority that stands in for a processor share; 0: none.
	Nice() int
	// PIDs lists the processes inside, the ones of groups below included.
	// ok is false where the driver cannot know.
	PIDs() (pids []int, ok bool, err error)
	// Signal sends sig to every process inside, once, atomically where the
	// kernel can (cgroup.kill).
	Signal(sig syscall.Signal) error
	Freeze(on bool) error
	Update(r *specs.LinuxResources) ([]Unhonoured, error)
	Stats() (Stats, error)
	// OOMKills counts the processes the kernel killed for memory.
	OOMKills() uint64
	// Paths are the directories by controller ("" for v2), to be bound into
	// the container or shown by inspect.
	Paths() map[string]string
	// Remove deletes the group; its processes must be gone.
	Remove() error
}

// Doors is implemented by groups that a thread can go into by itself. It costs
// that thread nothing, where to be put in costs a process a grace period of the
// kernel's (5 to 20 ms seen on 6.18).
type Doors interface {
	// Doors opens the files that let a thread in that writes "0" to each. They
	// are close-on-exec, and the caller's to close. A thread that one of them
	// refuses is put in by Add, with its process.
	Doors() (fds []int, err error)
}

// Stats are the figures of one moment. A figure the kernel does not keep is
// zero and its name missing from Have.
type Stats struct {
	Have        map[string]bool // "cpu", "memory", "pids", "blkio"
	CPUNanos    uint64
	MemoryBytes uint64 // usage less the inactive page cache, as Docker shows it
	MemoryLimit uint64 // bytes; 0: none
	PIDs        uint64
	PIDsLimit   uint64
	ReadBytes   uint64
	WriteBytes  uint64
}
