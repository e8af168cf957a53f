package engine

import (
	"fmt"
	"runtime"

	"coracle/backends"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/image/platform"
	"coracle/probe"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// architecture is that of a container's programs, Go's name. Images whose
// configuration does not say it are taken for this machine's.
func architecture(c *record.Container) string {
	p, err := platform.Parse(c.Platform)
	if err != nil {
		return runtime.GOARCH
	}
	return p.Architecture
}

// foreign has the programs of l's container run where they are not of this
// machine's architecture.
func (l *life) foreign() error {
	arch := architecture(l.c)
	if arch == runtime.GOARCH {
		return nil
	}
	way, registered, err := l.e.mach.Serve(l.c.Drivers.Isolation, arch)
	if err != nil {
		return fail(Unavailable, err, "image is for %s: %v", l.c.Platform, err)
	}
	if way == nil {
		return nil // what it is called may be wrong: the kernel decides
	}
	if registered {
		l.e.opt.Warn(fmt.Sprintf("handler %s now runs programs for %s on this machine by %s, until 'platform rm' or the next boot", way.Handler, arch, way.Emulator))
	}
	mounts, err := way.Mounts()
	if err != nil {
		return err
	}
	l.plan.Spec.Mounts = append(l.plan.Spec.Mounts, mounts...)
	return nil
}

// unasked says that an image of another platform was taken, in Docker's words.
func unasked(asked string, p ocispec.Platform) string {
	is, err := platform.Parse(platform.String(p))
	if asked != "" || err != nil || is.Architecture == runtime.GOARCH {
		return ""
	}
	return fmt.Sprintf("The requested image's platform (%s) does not match the detected host platform (%s) and no specific platform was requested",
		platform.String(p), platform.String(platform.Machine()))
}

// Platforms tells how programs of each architecture would run here.
func (e *Engine) Platforms() []machine.Way { return Platforms(e.store.Root(), e.report, e.sel) }

// Platforms is the same where no engine can be had. sel may be nil.
func Platforms(root string, report *probe.Report, sel *backends.Selection) []machine.Way {
	rung := ""
	if sel != nil {
		rung = sel.Rung(backends.Isolation)
	}
	return machine.Ways(root, rung, report)
}
