package launch

import (
	"fmt"
	"os"
	"strconv"

	"coracle/backends/isolate"
	"coracle/backends/isolate/stage"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// FromBundle begins the plan of a container's first process.
func FromBundle(b *isolate.Bundle) *Plan {
	return &Plan{
		IO: b.IO, Seccomp: b.Seccomp, Doors: b.Doors, Joined: b.Joined, RunDir: b.RunDir, Wire: b.Wire, Opened: b.Opened,
		Config: stage.Config{
			Spec: b.Spec, Process: b.Spec.Process, RootMounts: b.RootMounts,
			User: b.User, GroupAdd: b.GroupAdd,
			Terminal: b.IO.Terminal, Rows: b.IO.Rows, Cols: b.IO.Cols,
			Init: b.Init, Agent: b.Agent, Loopback: b.Loopback, Nice: b.Nice,
		},
	}
}

// FromEntry begins the plan of one more process.
func FromEntry(t isolate.Target, e *isolate.Entry) *Plan {
	return &Plan{
		IO: e.IO, Seccomp: e.Seccomp, Doors: e.Doors, Joined: e.Joined, RunDir: t.RunDir,
		Config: stage.Config{
			Enter: true, Spec: t.Spec, Process: e.Process,
			User: e.User, GroupAdd: e.GroupAdd,
			Terminal: e.IO.Terminal, Rows: e.IO.Rows, Cols: e.IO.Cols,
		},
	}
}

// Join turns the spec's namespaces into flags, and opens those that are joined
// by path; the caller closes what is returned, also after an error.
func Join(f *sys.Fork, s *specs.Spec) (opened []*os.File, err error) {
	for _, ns := range s.Linux.Namespaces {
		if ns.Path == "" {
			f.Flags |= CloneFlag(ns.Type)
			continue
		}
		file, err := os.Open(ns.Path)
		if err != nil {
			return opened, fmt.Errorf("join %s namespace: %w", ns.Type, err)
		}
		opened = append(opened, file)
		f.Join = append(f.Join, int(file.Fd()))
		if ns.Type == specs.PIDNamespace {
			f.Again = true
		}
	}
	return opened, nil
}

// JoinProcess joins the namespaces of pid that differ from ours, but for the
// mount namespace. The user namespace comes first: it gives the right to join
// the others.
func JoinProcess(f *sys.Fork, pid int) (opened []*os.File, err error) {
	for _, name := range [...]string{"user", "ipc", "uts", "net", "cgroup", "pid"} {
		ours, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			continue // a kind that this kernel lacks
		}
		file, err := sys.Namespace(pid, name)
		if err != nil {
			return opened, fmt.Errorf("join %s namespace: %w", name, err)
		}
		opened = append(opened, file)
		if theirs, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(file.Fd()))); err == nil && ours == theirs {
			continue
		}
		f.Join = append(f.Join, int(file.Fd()))
		if name == "pid" {
			f.Again = true
		}
	}
	return opened, nil
}

// CloseAll closes files.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
