package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/engine/volume"
	"coracle/fs/snapshot"
	"coracle/image"
	"coracle/image/platform"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Create makes a container of an image.
func (e *Engine) Create(ctx context.Context, opt CreateOptions) (id string, warnings []string, err error) {
	if opt.Config == nil {
		opt.Config = &container.Config{}
	}
	if opt.Host == nil {
		opt.Host = &container.HostConfig{}
	}
	if err := e.sel.Usable(); err != nil {
		return "", nil, fail(Unavailable, err, "%v", err)
	}
	if opt.Name != "" {
		if err := e.checkName(opt.Name); err != nil {
			return "", nil, err
		}
	}
	img, err := imageFor(ctx, e.source, &opt)
	if err != nil {
		return "", nil, err
	}
	c, warnings, err := e.describe(&opt, img)
	if err != nil {
		return "", warnings, err
	}
	if len(warnings) > 0 && e.opt.Strict {
		return "", nil, fail(Unavailable, nil, "%s", warnings[0])
	}
	if w := unasked(opt.Platform, img.Platform); w != "" {
		e.opt.Warn(w)
	}
	if err := e.make(ctx, c, img, opt.Name == ""); err != nil {
		var taken *record.NameTakenError
		if errors.As(err, &taken) {
			err = nameTaken(taken)
		}
		return "", warnings, err
	}
	happened(e, c, "create")
	e.made.Store(&made{c: c})
	return c.ID, warnings, nil
}

func (e *Engine) checkName(name string) error {
	if !record.ValidName(name) {
		return fail(Invalid, nil, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	// Early, before any work; it is decided when the container appears.
	id, err := e.store.Taken(name)
	if err == nil && id != "" {
		return nameTaken(&record.NameTakenError{Name: name, ID: id})
	}
	return err
}

func newID() string {
	var raw [32]byte
	for {
		rand.Read(raw[:])
		id := hex.EncodeToString(raw[:])
		// As Docker: the short ID is never a number, which tools would misread.
		for i := range 12 {
			if id[i] > '9' {
				return id
			}
		}
	}
}

// describe is the record of the container that opt asks for.
func (e *Engine) describe(opt *CreateOptions, img *image.Image) (*record.Container, []string, error) {
	c := &record.Container{
		ID: newID(), Name: opt.Name, Created: time.Now().UTC(), ImageID: img.ID,
		Platform: platform.String(img.Platform), Config: opt.Config, HostConfig: opt.Host,
		Layer: img.Top(), Drivers: e.drivers(), PIDFile: opt.PIDFile, Served: served(opt.Served),
	}
	asked := c.Config.Hostname != ""
	if err := spec.Valid(c.Config, c.HostConfig); err != nil {
		return nil, nil, invalid(err)
	}
	if err := merge(c, img); err != nil {
		return nil, nil, err
	}
	if err := nameDonors(e.store, c); err != nil {
		return nil, nil, err
	}
	if err := validate(c); err != nil {
		return nil, nil, err
	}
	var more []string
	err := e.wires.Describe(c, opt.Networking, func(w string) { more = append(more, w) })
	if err != nil {
		return nil, nil, wireError(err)
	}
	spec.Complete(c, e.report)
	if c.Mounts, err = volume.Resolve(c.Config, c.HostConfig, mountSources(context.Background(), e)); err != nil {
		return nil, nil, invalid(err)
	}
	if c.Name == "" {
		c.Name = record.RandomName()
	}
	if c.PIDFile != "" {
		if c.PIDFile, err = filepath.Abs(c.PIDFile); err != nil {
			return nil, nil, err
		}
	}
	// What cannot be understood is refused now and not at the start.
	if _, err := spec.Process(c, nil); err != nil {
		return nil, nil, invalid(err)
	}
	if err := spec.Confinable(c, e.report); err != nil {
		return nil, nil, fail(Unavailable, err, "%v", err)
	}
	return c, append(more, spec.Cannot(c, e.report, asked)...), nil
}

func served(m map[network.Port]uint16) []record.Served {
	var out []record.Served
	for p, at := range m {
		out = append(out, record.Served{Proto: string(p.Proto()), Port: p.Num(), At: at})
	}
	return out
}

// make lays the container out on disk. Whatever fails, nothing is left; whoever
// is killed leaves a draft that says what is to be cleaned.
func (e *Engine) make(ctx context.Context, c *record.Container, img *image.Image, mayRename bool) (err error) {
	snaps, err := e.mach.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return err
	}
	if c.Layer != "" && !snaps.Has(c.Layer) {
		if err := e.source.Unpack(ctx, snaps, img); err != nil {
			return fmt.Errorf("unpack image %s: %w", c.Config.Image, err)
		}
	}
	if architecture(c) == runtime.GOARCH {
		// An emulator may have to be put into the root.
		machine.ChooseView(c, snaps)
	}
	durable := !c.HostConfig.AutoRemove
	d, err := e.store.Begin(c, durable)
	if err != nil {
		return stateError(e.store.Root(), err)
	}
	defer func() {
		if err != nil {
			// Not with ctx: it may be cancelled, and this is the clean-up.
			clean := context.WithoutCancel(ctx)
			e.mach.Volumes(e.store, c.Drivers).Release(clean, c)
			if !c.View {
				err = errors.Join(err, snaps.Remove(clean, c.ID))
			}
			d.Abort()
		}
	}()
	if !c.View {
		if err := snaps.Create(ctx, c.ID, c.Layer); err != nil {
			return fmt.Errorf("create root filesystem: %w", err)
		}
	}
	if err := furnish(ctx, e, c, snaps); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A copied tree reaches the disk in its own time (flat.Store.Create). A
	// container that is there before its tree is worse than none.
	copied := !c.View && snaps.Dir(c.ID) != ""
	for tries := 0; ; tries++ {
		lock, err := d.Commit(durable && !copied)
		var taken *record.NameTakenError
		if errors.As(err, &taken) && mayRename && tries < 20 {
			name := record.RandomName()
			if tries > 5 {
				name += "_" + c.ID[:6]
			}
			if err := d.SetName(name); err != nil {
				return err
			}
			continue
		}
		lock.Release()
		return err
	}
}

// furnish makes what a container has beside its root filesystem.
func furnish(ctx context.Context, e *Engine, c *record.Container, snaps snapshot.Driver) error {
	mine := onlyVolumes(c.Mounts)
	made := slices.DeleteFunc(slices.Clone(mine), func(m record.Mount) bool {
		_, err := e.mach.Volumes(e.store, c.Drivers).Get(m.Name)
		return err == nil
	})
	// Of the sources only volumes: a bind's directory is made at the start.
	fresh, err := volume.Sources(mine)
	if err != nil {
		return err
	}
	for _, m := range made {
		Tell(e, "volume", "create", m.Name, map[string]string{"driver": m.Driver})
	}
	if len(fresh) == 0 {
		return nil
	}
	mounts, err := machine.RootMounts(c, snaps)
	if err != nil {
		return err
	}
	return e.mach.CopyUp(ctx, c, mounts, snaps.Dir(c.ID), fresh)
}

func onlyVolumes(list []record.Mount) []record.Mount {
	var out []record.Mount
	for _, m := range list {
		if m.Type == "volume" {
			out = append(out, m)
		}
	}
	return out
}

// hostName is the host's name, for containers that cannot have one of their own.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
