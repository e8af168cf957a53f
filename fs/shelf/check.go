package shelf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"coracle/fs/snapshot"
	"coracle/fs/tree"
)

// damagedFile marks a layer that CheckOne found damaged.
const damagedFile = "damaged"

// Compared says what of two trees is compared.
type Compared struct{ NoOwner bool }

// CheckOne compares the layer chain, if it is there, with one that fill makes
// anew in a directory of its own. fill tells which two trees are to be alike. The
// layer is marked if they are not, and mended and unmarked if that is wished.
func (s *Shelf) CheckOne(ctx context.Context, chain string, mend bool, fill func(dir string) (have, want string, err error), opt Compared) (found []snapshot.Damage, err error) {
	key := Key(chain)
	// Who holds this lock may make and use the temporary directory of the name.
	aside, err := s.Lock(ctx, key+"~check")
	if err != nil {
		return nil, err
	}
	defer aside.Unlock()
	hold, err := s.Share(ctx, key)
	if err != nil {
		return nil, err
	}
	defer hold.Unlock()
	if _, err := s.Layer(chain); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	dir, err := s.Begin(ctx, aside)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Abort(aside)) }()
	have, want, err := fill(dir)
	if err != nil {
		return nil, fmt.Errorf("check layer %s: %w", chain, err)
	}
	err = tree.Compare(ctx, have, want, tree.CompareOptions{NoOwner: opt.NoOwner, Mend: mend, Differs: func(path, what string) {
		if len(found) < snapshot.MaxDamage {
			found = append(found, snapshot.Damage{ChainID: chain, Path: path, What: what})
		}
	}})
	if err != nil {
		return found, fmt.Errorf("check layer %s: %w", chain, err)
	}
	mark := filepath.Join(s.Path(key), damagedFile)
	switch {
	case len(found) > 0 && !mend:
		return found, os.WriteFile(mark, nil, 0o600)
	case len(found) > 0:
		if err := tree.Sync(have); err != nil {
			return found, err
		}
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return found, err
	}
	return found, nil
}

// Damaged tells whether a layer is marked.
func (p Pair) Damaged(chainID string) bool {
	_, err := os.Lstat(filepath.Join(p.Lower.Path(Key(chainID)), damagedFile))
	return err == nil
}

// LayerUsage is the room that a layer takes.
func (p Pair) LayerUsage(chainID string) (int64, error) {
	return tree.Usage(p.Lower.Path(Key(chainID)))
}
