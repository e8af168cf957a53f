package shelf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"coracle/fs/snapshot"
)

// Pair is two shelves: one of layers, whose objects are named by the Key of their
// chain IDs, and one of the snapshots that stand on them. It is the part of a
// snapshot.Driver that does not depend on what is inside an object.
type Pair struct {
	Lower *Shelf // layers
	Upper *Shelf // snapshots
}

// NewPair is the pair below dir, with its layers in dir/lower and its snapshots
// in dir/snapshots. It touches nothing yet.
func NewPair(dir, lower string) (Pair, error) {
	abs, err := filepath.Abs(dir)
	p := Pair{Lower: New(filepath.Join(abs, lower)), Upper: New(filepath.Join(abs, "snapshots"))}
	p.Lower.Large = true
	return p, err
}

// Has tells whether a layer is there.
func (p Pair) Has(chainID string) bool {
	_, err := p.Lower.Layer(chainID)
	return err == nil
}

// Add makes the snapshot id on layer chainID ("": on none). fill fills its
// directory and is given the layer's note; the layer stays while it runs. An
// existing id is an error that Is fs.ErrExist.
func (p Pair) Add(ctx context.Context, id, chainID string, fill func(dir string, below Note) error) error {
	if err := Check(id); err != nil {
		return err
	}
	var below Note
	if chainID != "" {
		low, err := p.Lower.Share(ctx, Key(chainID))
		if err != nil {
			return err
		}
		defer low.Unlock()
		if below, err = p.Lower.Layer(chainID); err != nil {
			return fmt.Errorf("create %s: %w", id, err)
		}
	}
	l, err := p.Upper.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	if p.Upper.Has(id) {
		return fmt.Errorf("snapshot %s: %w", id, fs.ErrExist)
	}
	dir, err := p.Upper.Begin(ctx, l)
	if err == nil {
		err = fill(dir, below)
	}
	if err == nil {
		err = WriteNote(dir, Note{Chain: chainID})
	}
	if err == nil {
		err = p.Upper.Commit(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", id, err), p.Upper.Abort(l))
	}
	return nil
}

// Remove deletes a snapshot; an absent one is not an error.
func (p Pair) Remove(ctx context.Context, id string) error {
	l, err := p.Upper.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return p.Upper.Delete(ctx, l)
}

// RemoveLayer deletes a layer that nothing stands on; an absent one is not an
// error. One in use is snapshot.ErrInUse, also where a snapshot is a copy that
// could do without it: an image in use is in use on every rung.
func (p Pair) RemoveLayer(ctx context.Context, chainID string) error {
	l, err := p.Lower.Lock(ctx, Key(chainID))
	if err != nil {
		return err
	}
	defer l.Unlock()
	if _, err := p.Lower.Layer(chainID); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := p.users(chainID); err != nil {
		return err
	}
	return p.Lower.Delete(ctx, l)
}

// users is the error that names who stands on a layer: a snapshot, or a layer
// whose note says that it needs the one below it.
func (p Pair) users(chainID string) error {
	ids, err := p.Upper.Names()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if n, err := p.Upper.ReadNote(id); err == nil && n.Chain == chainID {
			return fmt.Errorf("layer %s: %w: by %s", chainID, snapshot.ErrInUse, id)
		}
	}
	keys, err := p.Lower.Names()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if n, err := p.Lower.ReadNote(key); err == nil && n.Parent == chainID {
			return fmt.Errorf("layer %s: %w: by layer %s", chainID, snapshot.ErrInUse, n.Chain)
		}
	}
	return nil
}

// Layers lists the chain IDs of all layers.
func (p Pair) Layers() ([]string, error) {
	keys, err := p.Lower.Names()
	var chains []string
	for _, key := range keys {
		if n, err := p.Lower.ReadNote(key); err == nil {
			chains = append(chains, n.Chain)
		}
	}
	return chains, err
}

// Snapshots lists the snapshots.
func (p Pair) Snapshots() ([]string, error) { return p.Upper.Names() }

// Clean removes what killed processes left.
func (p Pair) Clean(ctx context.Context) error {
	return errors.Join(p.Lower.Clean(ctx), p.Upper.Clean(ctx))
}
