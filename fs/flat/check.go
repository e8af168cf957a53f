package flat

import (
	"context"
	"path/filepath"

	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"
)

// Check implements snapshot.Driver: of each tree that is there of some of the
// layers, the whole tree.
func (s *Store) Check(ctx context.Context, layers []snapshot.Layer, mend bool) ([]snapshot.Damage, error) {
	var all []snapshot.Damage
	for i, l := range layers {
		found, err := s.Lower.CheckOne(ctx, l.ChainID, mend, func(dir string) (have, want string, err error) {
			want = filepath.Join(dir, rootDir)
			if err := tree.MakeRoot(want); err != nil {
				return "", "", err
			}
			_, err = s.apply(ctx, layers[:i+1], want)
			return s.tree(l.ChainID), want, err
		}, shelf.Compared{NoOwner: s.opt.Squash})
		if err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	return all, nil
}
