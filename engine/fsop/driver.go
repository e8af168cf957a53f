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
	_, err := d.call(ctx, op, id, chain)
	return err
}

func (d *Driver) call(ctx context.Context, op, id, chain string) (answer, error) {
	return d.helper.call(ctx, &request{Op: op, Where: d.where, ID: id, Chain: chain})
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
	a, err := d.call(context.Background(), "usage", id, "")
	return a.N, err
}

// LayerUsage implements snapshot.Driver.
func (d *Driver) LayerUsage(chainID string) (int64, error) {
	a, err := d.call(context.Background(), "layerusage", "", chainID)
	return a.N, err
}

// Check cannot be done, as Unpack. See CheckImage.
func (d *Driver) Check(context.Context, []snapshot.Layer, bool) ([]snapshot.Damage, error) {
	return nil, snapshot.ErrUnsupported
}

// CheckImage is Check of the layers of an image of the store.
func (d *Driver) CheckImage(ctx context.Context, id string, mend bool) ([]snapshot.Damage, error) {
	op := "check"
	if mend {
		op = "mend"
	}
	a, err := d.call(ctx, op, id, "")
	return a.Damage, err
}

// Mounts implements snapshot.Driver.
func (d *Driver) Mounts(id string) ([]specs.Mount, error) { return d.Driver.Mounts(id) }
