// Package chroot isolates containers with chroot alone, as root, on kernels
// that lack namespaces, or that forbid them to us.
//
// With mount namespaces (every kernel since 2.4.19 has them, some are
// forbidden them) the container has a mount table of its own and its root is
// made by pivot_root. Without, its mounts stand in the host's table, below its
// root directory, until Sweep undoes them.
//
// # What it does not protect from
//
// The container shares the host's process numbers, host name, System V IPC and
// network. Root in it sees every process of the host in /proc and can send it a
// signal; it can bind the host's ports, and reach abstract sockets of the host.
// So this rung keeps programs apart that trust each other; it does not hold a
// hostile root. What makes a chroot escapable is dropped, whatever the container
// was given: CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_MKNOD and the
// like. A container that is not to be trusted should run as a user other than
// root.
package chroot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"coracle/backends/isolate"
	"coracle/backends/isolate/launch"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options are what the probe found.
type Options struct {
	// MountNS: mount namespaces work.
	MountNS bool
}

// Driver is the rung "chroot".
type Driver struct{ opt Options }

var _ isolate.Driver = (*Driver)(nil)

// New makes the driver.
func New(opt Options) *Driver { return &Driver{opt} }

// Name is "chroot".
func (*Driver) Name() string { return "chroot" }

// Escapes are the capabilities with which root leaves a chroot: a second chroot,
// another process's memory or root, a mount, a device node of the disk, the
// kernel's memory, a file handle of the host's filesystem.
func Escapes() []string {
	return []string{
		"CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_SYS_MODULE",
		"CAP_SYS_RAWIO", "CAP_DAC_READ_SEARCH", "CAP_SYS_BOOT", "CAP_BPF", "CAP_PERFMON",
	}
}

func withoutEscapes(p *specs.Process) {
	c := p.Capabilities
	if c == nil {
		// No list means all: never here.
		p.Capabilities = &specs.LinuxCapabilities{}
		return
	}
	drop := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(Escapes(), name) })
	}
	p.Capabilities = &specs.LinuxCapabilities{
		Bounding: drop(c.Bounding), Effective: drop(c.Effective), Permitted: drop(c.Permitted),
		Inheritable: drop(c.Inheritable), Ambient: drop(c.Ambient),
	}
}

// Start runs the first process.
func (d *Driver) Start(ctx context.Context, b *isolate.Bundle) (isolate.Process, error) {
	if err := launch.HostSources(b.Spec); err != nil {
		return nil, err
	}
	withoutEscapes(b.Spec.Process)
	p := launch.FromBundle(b)
	if d.opt.MountNS {
		p.Fork.Flags = unix.CLONE_NEWNS
		p.Fork.Shield = true
		p.Config.PrivateMounts = true
		launch.Peers(p)
		defer launch.CloseAll(p.Trees)
	} else {
		p.CopyIn = b.RunDir
	}
	proc, err := launch.Start(ctx, p)
	if err != nil {
		d.undo(b.Spec, b.RunDir)
		return nil, err
	}
	// Remembered for Sweep, which may come when this process is gone and
	// others of the container are not.
	if key, err := launch.RootOf(proc.PID()); err == nil {
		data, _ := json.Marshal(key)
		os.WriteFile(keyFile(b.RunDir), data, 0o600)
	}
	return proc, nil
}

func keyFile(dir string) string { return filepath.Join(dir, "root.json") }

// Enter changes into the root of the container's first process. Its mounts are
// seen from there, with or without a mount namespace.
func (d *Driver) Enter(ctx context.Context, t isolate.Target, e *isolate.Entry) (isolate.Process, error) {
	if !launch.Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	withoutEscapes(e.Process)
	p := launch.FromEntry(t, e)
	p.Config.RootOf = t.PID
	if d.opt.MountNS {
		p.Fork.Unshare = unix.CLONE_NEWNS
		p.Fork.Shield = true
	} else {
		p.CopyIn = t.RunDir
	}
	return launch.Start(ctx, p)
}

// Sweep finds the container's processes by their root, kills them, and undoes
// mounts in the host's table.
func (d *Driver) Sweep(_ context.Context, t isolate.Target) error {
	if err := launch.KillFirst(t); err != nil {
		return err
	}
	err := launch.KillAll(func() ([]int, error) { return remembered(t) })
	return errors.Join(err, d.undo(t.Spec, t.RunDir))
}

func (d *Driver) undo(s *specs.Spec, runDir string) error {
	if s == nil || s.Root == nil {
		return nil
	}
	err := launch.UnmountBelow(s.Root.Path)
	if err == nil {
		os.Remove(keyFile(runDir))
	}
	return err
}

// Processes lists those with the container's root.
func (d *Driver) Processes(t isolate.Target) ([]int, error) {
	return remembered(t)
}

func remembered(t isolate.Target) ([]int, error) {
	var key launch.RootKey
	data, err := os.ReadFile(keyFile(t.RunDir))
	if err == nil {
		err = json.Unmarshal(data, &key)
	}
	if err != nil || key.Ino == 0 {
		return nil, nil
	}
	return launch.WithRoot(key)
}
