package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"coracle/fs/snapshot"
)

// Unpacked are the snapshot drivers that have been used on this machine, whichever
// rung is taken now.
func (m *Machine) Unpacked(isolation string) []snapshot.Driver {
	entries, err := os.ReadDir(filepath.Join(m.root, "fs"))
	if err != nil {
		return nil
	}
	var all []snapshot.Driver
	for _, e := range entries {
		if d, err := m.Snapshots(e.Name(), isolation); err == nil && e.IsDir() {
			all = append(all, d)
		}
	}
	return all
}

// Drop deletes unpacked layers, named from the top down, that nothing stands on,
// and tells how many bytes that freed.
func (m *Machine) Drop(ctx context.Context, isolation string, chains []string) (freed int64, err error) {
	if len(chains) == 0 {
		return 0, nil
	}
	var failed []error
	for _, d := range m.Unpacked(isolation) {
		for _, c := range chains {
			n, err := drop(ctx, d, c)
			freed += n
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
	return freed, errors.Join(failed...)
}

func drop(ctx context.Context, d snapshot.Driver, chain string) (int64, error) {
	if !d.Has(chain) {
		return 0, nil
	}
	n, err := d.LayerUsage(chain)
	if err == nil {
		err = d.RemoveLayer(ctx, chain)
	}
	if errors.Is(err, snapshot.ErrInUse) {
		return 0, nil
	}
	return n, err
}

// Sweep deletes the unpacked layers that are not to be kept and that nothing stands
// on, and what killed processes left half-made.
func (m *Machine) Sweep(ctx context.Context, isolation string, keep map[string]bool) (freed int64, err error) {
	var failed []error
	for _, d := range m.Unpacked(isolation) {
		if err := d.Clean(ctx); err != nil {
			failed = append(failed, err)
		}
		// A layer can go when those above it have gone.
		for again := true; again; {
			again = false
			chains, err := d.Layers()
			if err != nil {
				failed = append(failed, err)
				break
			}
			for _, c := range chains {
				if keep[c] {
					continue
				}
				n, err := drop(ctx, d, c)
				if err != nil {
					failed = append(failed, err)
				}
				freed, again = freed+n, again || n > 0
			}
		}
	}
	return freed, errors.Join(failed...)
}

// layerLimit is what one layer may unpack to; 0: there is no limit.
func (m *Machine) layerLimit() int64 {
	if m.Limit == nil {
		return 0
	}
	return m.Limit()
}
