package engine

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"coracle/engine/record"
	"coracle/engine/volume"
	"coracle/fs/snapshot"

	"github.com/moby/moby/api/types/mount"
	apivolume "github.com/moby/moby/api/types/volume"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// VolumeCreate makes a volume; one of that name stays as it is.
func VolumeCreate(e *Engine, r apivolume.CreateRequest) (*apivolume.Volume, error) {
	_, missing := volumes(e).Get(r.Name)
	v, err := volumes(e).Create(r)
	if err == nil && missing != nil {
		Tell(e, "volume", "create", v.Name, map[string]string{"driver": v.Driver})
	}
	return v, volumeError(err)
}

// VolumeInspect finds a volume.
func VolumeInspect(e *Engine, name string) (*apivolume.Volume, error) {
	v, err := volumes(e).Get(name)
	return v, volumeError(err)
}

// VolumeList lists the volumes by name; filters as of `volume ls`.
func VolumeList(ctx context.Context, e *Engine, filters map[string][]string) ([]*apivolume.Volume, error) {
	list, err := volumes(e).Filter(ctx, filters)
	return list, volumeError(err)
}

// VolumeRemove deletes a volume that no container uses.
func VolumeRemove(ctx context.Context, e *Engine, name string, force bool) error {
	err := volumes(e).Remove(ctx, name)
	if force && errors.Is(err, volume.ErrNotFound) {
		return nil
	}
	if err == nil {
		Tell(e, "volume", "destroy", name, map[string]string{"driver": "local"})
	}
	return volumeError(err)
}

// VolumePrune deletes the volumes that no container uses: the anonymous ones, or,
// with the filter all=true, all.
func VolumePrune(ctx context.Context, e *Engine, filters map[string][]string) (*apivolume.PruneReport, error) {
	r, err := volumes(e).Prune(ctx, filters)
	if err == nil {
		for _, name := range r.VolumesDeleted {
			Tell(e, "volume", "destroy", name, map[string]string{"driver": "local"})
		}
		Tell(e, "volume", "prune", "", map[string]string{"reclaimed": strconv.FormatUint(r.SpaceReclaimed, 10)})
	}
	return r, volumeError(err)
}

func volumes(e *Engine) *volume.Store { return e.mach.Volumes(e.store, e.drivers()) }

func volumeError(err error) error {
	switch {
	case errors.Is(err, volume.ErrNotFound):
		return fail(NotFound, err, "%v", err)
	case errors.Is(err, volume.ErrInUse):
		return fail(Conflict, err, "%v", err)
	case errors.Is(err, volume.ErrInvalid):
		return fail(Invalid, err, "%s", volume.Reason(err))
	}
	return err
}

// mountSources is where the mounts of a new container come from.
func mountSources(ctx context.Context, e *Engine) volume.From {
	return volume.From{
		Dir: volume.Dir(e.store.Root()),
		Donor: func(ref string) ([]record.Mount, error) {
			id, err := e.store.Find(ref)
			if err != nil {
				return nil, noContainer(ref, err)
			}
			c, err := e.store.Load(id)
			if err != nil {
				return nil, noContainer(ref, err)
			}
			return c.Mounts, nil
		},
		Image: func(ref string) (string, error) {
			img, err := e.source.Image(ctx, ref, "", "never", nil)
			if err != nil {
				return "", noImage(ref, err)
			}
			chain := img.Top()
			if chain == "" {
				return "", fail(Invalid, nil, "image %s has no layers", ref)
			}
			snaps, err := e.mach.Snapshots(e.drivers().Rootfs, e.drivers().Isolation)
			if err != nil {
				return "", err
			}
			if !snaps.Has(chain) {
				err = e.source.Unpack(ctx, snaps, img)
			}
			return chain, err
		},
	}
}

// imageViews are the mounts of the images that c mounts.
func imageViews(c *record.Container, snaps snapshot.Driver) map[string][]specs.Mount {
	var views map[string][]specs.Mount
	for i := range c.Mounts {
		m := &c.Mounts[i]
		if m.Type != mount.TypeImage {
			continue
		}
		if view, err := snaps.View(m.Layer); err == nil {
			if views == nil {
				views = map[string][]specs.Mount{}
			}
			views[m.Layer] = realBase(view)
		}
	}
	return views
}

// realBase follows the links in the directory that a union's others are relative
// to: the way back from it is by "..".
func realBase(view []specs.Mount) []specs.Mount {
	for i := range view {
		for j, o := range view[i].Options {
			if dir, ok := strings.CutPrefix(o, "x-chdir="); ok {
				if real, err := filepath.EvalSymlinks(dir); err == nil {
					view[i].Options[j] = "x-chdir=" + real
				}
			}
		}
	}
	return view
}
