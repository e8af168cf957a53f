package fsop

import (
	"context"

	"coracle/backends/isolate/userns"
	"coracle/fs/snapshot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Opener makes a snapshot driver of a rung's name.
type Opener func(rung, dir string, opt snapshot.Options) (snapshot.Driver, error)

// Driver is a snapshot driver whose writing calls are done by the helper in the
// containers' user namespace.
type Driver struct {
	snapshot.Driver
	where  Where
	helper Helper
}

var _ snapshot.Driver = (*Driver)(nil)

// New wraps the driver that open makes of w.
func New(w Where, maps userns.IDMaps, open Opener) (*Driver, error) {
	inner, err := open(w.Rung, w.Dir, w.Options)
	if err != nil {
		return nil, err
	}
	return &Driver{inner, w, InUserNS(maps)}, nil
}

func (d *Driver) do(ctx context.Context, op, id, chain string) error {
	_, err := d.helper.call(ctx, &request{Op: op, Where: d.where, ID: id, Chain: chain})
	return err
}

// UnpackImage makes the layers of an image of the store present.
func (d *Driver) UnpackImage(ctx context.Context, id string) error {
	return d.do(ctx, "unpack", id, "")
}

// Unpack cannot be done: a stream does not go to another process. See
// UnpackImage.
func (d *Driver) Unpack(context.Context, []snapshot.Layer) error { return snapshot.ErrUnsupported }

// Create implements snapshot.Driver.
func (d *Driver) Create(ctx context.Context, id, chainID string) error {
	return d.do(ctx, "create", id, chainID)
}

// Remove implements snapshot.Driver.
func (d *Driver) Remove(ctx context.Context, id string) error { return d.do(ctx, "remove", id, "") }

// RemoveLayer implements snapshot.Driver.
func (d *Driver) RemoveLayer(ctx context.Context, chainID string) error {
	return d.do(ctx, "removelayer", "", chainID)
}

// Clean implements snapshot.Driver.
func (d *Driver) Clean(ctx context.Context) error { return d.do(ctx, "clean", "", "") }

// Usage implements snapshot.Driver.
func (d *Driver) Usage(id string) (int64, error) {
	return d.helper.call(context.Background(), &request{Op: "usage", Where: d.where, ID: id})
}

// Mounts implements snapshot.Driver.
func (d *Driver) Mounts(id string) ([]specs.Mount, error) { return d.Driver.Mounts(id) }
