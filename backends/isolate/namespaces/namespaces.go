// Package namespaces isolates containers with the kernel's namespaces, as root:
// what Docker does.
package namespaces

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"coracle/backends/isolate"
	"coracle/backends/isolate/launch"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Driver is the rung "namespaces".
type Driver struct {
	staged bool         // tests: Enter always takes a second stage
	direct atomic.Int64 // tests: how many processes have entered without
}

var _ isolate.Driver = (*Driver)(nil)

// New makes the driver.
func New() *Driver { return &Driver{} }

// Name is "namespaces".
func (*Driver) Name() string { return "namespaces" }

// Start runs the first process in the namespaces that the spec names.
func (*Driver) Start(ctx context.Context, b *isolate.Bundle) (isolate.Process, error) {
	if err := launch.HostSources(b.Spec); err != nil {
		return nil, err
	}
	p := launch.FromBundle(b)
	p.Config.PrivateMounts = true
	p.Fork.Flags = unix.CLONE_NEWNS
	p.Fork.Shield = true
	opened, err := launch.Join(&p.Fork, b.Spec)
	defer launch.CloseAll(opened)
	if err != nil {
		return nil, err
	}
	launch.Peers(p)
	defer launch.CloseAll(p.Trees)
	return launch.StartRemembered(func() (isolate.Process, error) { return launch.Start(ctx, p) }, b)
}

// Enter joins all namespaces of the container, where that can be without a second
// stage. With one, the mount namespace comes last, and in the stage: our binary is
// not to be found in it.
func (d *Driver) Enter(ctx context.Context, t isolate.Target, e *isolate.Entry) (isolate.Process, error) {
	if !launch.Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	p := launch.FromEntry(t, e)
	if t.Agent {
		return launch.Ask(ctx, t, p)
	}
	opened, err := launch.JoinProcess(&p.Fork, t.PID)
	defer launch.CloseAll(opened)
	if err != nil {
		return nil, err
	}
	mnt, err := sys.Namespace(t.PID, "mnt")
	if err != nil {
		return nil, err
	}
	defer mnt.Close()
	p.Extra = mnt
	p.Config.Enter, p.Config.MountNS = true, true
	// The PID may have been recycled while its namespaces were opened.
	if !launch.Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	if !d.staged {
		if proc, ok := launch.Direct(ctx, p); ok {
			d.direct.Add(1)
			return proc, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	p.Fork.Unshare = unix.CLONE_NEWNS
	p.Fork.Shield = true
	return launch.Start(ctx, p)
}

// Sweep kills the container's first process; the kernel kills the others of its
// PID namespace (without one they are found by their root), and the mounts go
// with the mount namespace.
func (d *Driver) Sweep(_ context.Context, t isolate.Target) error {
	return launch.Kill(t)
}

// Processes lists those in the container's PID namespace, or, where it has none of
// its own, those with its root.
func (d *Driver) Processes(t isolate.Target) ([]int, error) { return launch.Processes(t) }
