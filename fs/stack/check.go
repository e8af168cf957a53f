package stack

import (
	"context"
	"path/filepath"

	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"
)

// Check implements snapshot.Driver, layer by layer.
func (s *Store) Check(ctx context.Context, layers []snapshot.Layer, mend bool) ([]snapshot.Damage, error) {
	var all []snapshot.Damage
	parent := ""
	for _, l := range layers {
		p := &part{layer: l, parent: parent}
		found, err := s.Lower.CheckOne(ctx, l.ChainID, mend, func(dir string) (have, want string, err error) {
			p.dir = dir
			if err := s.fillLayer(ctx, p); err != nil {
				return "", "", err
			}
			have, want = s.diff(l.ChainID), filepath.Join(dir, diffDir)
			if parent != "" && !p.stats.Root && s.Has(parent) {
				err = tree.Like(want, s.diff(parent), !s.opt.Squash)
			}
			return have, want, err
		}, shelf.Compared{NoOwner: s.opt.Squash})
		if err != nil {
			return all, err
		}
		all = append(all, found...)
		parent = l.ChainID
	}
	return all, nil
}
