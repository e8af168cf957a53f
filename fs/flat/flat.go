// Package flat keeps each image as one tree with all its layers applied, and
// gives each container a whole tree of its own. The drivers that differ only in
// how a file is copied (plainly, or by sharing its data) are made of it.
package flat

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"coracle/fs/layer"
	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"

	"golang.org/x/sys/unix"
)

// rootDir is the tree inside an object.
const rootDir = "root"

// Store is all of a driver but its name. On disk: trees/KEY/root is an image's
// tree, snapshots/ID/root a container's.
type Store struct {
	shelf.Pair
	opt   snapshot.Options
	clone bool
}

// New is the store in dir; clone makes copies share data (FICLONE).
func New(dir string, opt snapshot.Options, clone bool) (*Store, error) {
	p, err := shelf.NewPair(dir, "trees")
	p.Upper.Large = true // copies
	return &Store{p, opt, clone}, err
}

// Unpack makes the tree of all layers. It starts from a copy of the tree of
// some of them where there is one.
func (s *Store) Unpack(ctx context.Context, layers []snapshot.Layer) error {
	if len(layers) == 0 {
		return nil
	}
	top := layers[len(layers)-1].ChainID
	if s.Has(top) {
		return nil
	}
	l, err := s.Lower.Lock(ctx, shelf.Key(top))
	if err != nil {
		return err
	}
	defer l.Unlock()
	if s.Has(top) {
		return nil
	}
	dir, err := s.Lower.Begin(ctx, l)
	if err == nil {
		err = s.build(ctx, dir, layers)
	}
	if err == nil {
		// Whoever finds this name after a power cut takes the tree for
		// complete, so its contents must be on the disk before the name is.
		err = tree.Sync(dir)
	}
	if err == nil {
		err = s.Lower.Commit(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("unpack image %s: %w", top, err), s.Lower.Abort(l))
	}
	return s.Lower.Sync()
}

func (s *Store) build(ctx context.Context, dir string, layers []snapshot.Layer) error {
	root := filepath.Join(dir, rootDir)
	if err := tree.MakeRoot(root); err != nil {
		return err
	}
	n := len(layers)
	note := shelf.Note{Chain: layers[n-1].ChainID, NoXattr: true}
	start := 0
	for i := n - 1; i > 0; i-- {
		done, below, err := s.startFrom(ctx, layers[i-1].ChainID, root)
		if err != nil {
			return err
		}
		if done {
			start, note.NoXattr = i, below.NoXattr
			break
		}
	}
	xattrs, err := s.apply(ctx, layers[start:], root)
	if err != nil {
		return err
	}
	note.NoXattr = note.NoXattr && xattrs == 0
	return shelf.WriteNote(dir, note)
}

// apply applies layers to a tree, and tells how many attributes they had.
func (s *Store) apply(ctx context.Context, layers []snapshot.Layer, root string) (xattrs int, err error) {
	for _, l := range layers {
		stats, err := layer.ApplyFrom(ctx, l, root, layer.Options{Style: layer.Flat, Squash: s.opt.Squash, SquashUnmapped: s.opt.SquashUnmapped, MaxBytes: s.opt.MaxBytes})
		if err != nil {
			return xattrs, err
		}
		xattrs += stats.Xattrs
	}
	return xattrs, nil
}

// startFrom copies the tree of a lower layer, if it is there.
func (s *Store) startFrom(ctx context.Context, chain, root string) (bool, shelf.Note, error) {
	if !s.Has(chain) {
		return false, shelf.Note{}, nil
	}
	l, err := s.Lower.Share(ctx, shelf.Key(chain))
	if err != nil {
		return false, shelf.Note{}, err
	}
	defer l.Unlock()
	note, err := s.Lower.Layer(chain)
	if err != nil {
		return false, note, nil // gone meanwhile
	}
	return true, note, s.copy(ctx, chain, note, root)
}

func (s *Store) tree(chain string) string {
	return filepath.Join(s.Lower.Path(shelf.Key(chain)), rootDir)
}

func (s *Store) copy(ctx context.Context, chain string, note shelf.Note, dst string) error {
	err := tree.Copy(ctx, s.tree(chain), dst, tree.CopyOptions{
		Clone: s.clone, NoOwner: s.opt.Squash, NoXattr: note.NoXattr,
	})
	if s.clone && cannotClone(err) {
		return fmt.Errorf("%w: share file data in %s: %w", snapshot.ErrUnsupported, dst, err)
	}
	return err
}

func cannotClone(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOSYS)
}
