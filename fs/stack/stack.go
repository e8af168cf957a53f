// Package stack keeps each image layer in a directory of its own, and gives each
// container an empty directory to go on top. The drivers for filesystems that
// lay directories over each other are made of it.
//
// On disk: layers/KEY/d is a layer's change set, snapshots/ID/u a container's
// (the upper directory), snapshots/ID/w room that overlayfs works in.
package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coracle/fs/layer"
	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"
)

// The parts of an object. Short, because mount(2) takes one page of options.
const (
	diffDir  = "d"
	upperDir = "u"
	workDir  = "w"
)

// Store is all of a driver but its name and its mounts.
type Store struct {
	style     layer.Style
	opt       snapshot.Options
	layers    *shelf.Shelf
	snapshots *shelf.Shelf
}

// New is the store in dir, with whiteouts in the style of the filesystem.
func New(dir string, style layer.Style, opt snapshot.Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return &Store{
		style: style, opt: opt,
		layers:    shelf.New(filepath.Join(abs, "layers")),
		snapshots: shelf.New(filepath.Join(abs, "snapshots")),
	}, nil
}

// Dir is empty: a container's tree exists mounted only.
func (s *Store) Dir(string) string { return "" }

// Base is the directory that the names of Lowers and Snapshot are relative to:
// the one that keeps those of the many layers shortest.
func (s *Store) Base() string { return s.layers.Dir() }

// Lowers are the directories of a layer and those below it, the topmost first.
func (s *Store) Lowers(chainID string) ([]string, error) {
	var dirs []string
	for chain := chainID; chain != ""; {
		n, err := s.layers.Layer(chain)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", chain, err)
		}
		dirs = append(dirs, filepath.Join(shelf.Key(chain), diffDir))
		chain = n.Parent
	}
	return dirs, nil
}

// Snapshot is what a snapshot stands on, and its upper and work directories.
func (s *Store) Snapshot(id string) (lowers []string, upper, work string, err error) {
	n, err := s.snapshots.ReadNote(id)
	if err != nil {
		return nil, "", "", fmt.Errorf("snapshot %s: %w", id, err)
	}
	at := filepath.Join("..", "snapshots", id)
	lowers, err = s.Lowers(n.Chain)
	return lowers, filepath.Join(at, upperDir), filepath.Join(at, workDir), err
}

// Has tells whether a layer is there. Layers are put in place base first, so
// those below it are, too.
func (s *Store) Has(chainID string) bool {
	_, err := s.layers.Layer(chainID)
	return err == nil
}

// Create makes an empty upper directory.
func (s *Store) Create(ctx context.Context, id, chainID string) error {
	if err := shelf.Check(id); err != nil {
		return err
	}
	if chainID != "" {
		low, err := s.layers.Share(ctx, shelf.Key(chainID))
		if err != nil {
			return err
		}
		defer low.Unlock()
		if _, err := s.layers.Layer(chainID); err != nil {
			return fmt.Errorf("create %s: %w", id, err)
		}
	}
	l, err := s.snapshots.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	if s.snapshots.Has(id) {
		return fmt.Errorf("snapshot %s: %w", id, fs.ErrExist)
	}
	dir, err := s.snapshots.Begin(ctx, l)
	if err == nil {
		err = s.fill(dir, chainID)
	}
	if err == nil {
		err = s.snapshots.Commit(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", id, err), s.snapshots.Abort(l))
	}
	return nil
}

// fill makes the upper directory look like the root of the layer below: it is
// the upper's mode and owner that the container sees.
func (s *Store) fill(dir, chainID string) error {
	upper := filepath.Join(dir, upperDir)
	if err := tree.MakeRoot(upper); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, workDir), 0o700); err != nil {
		return err
	}
	if chainID != "" {
		if err := tree.Like(upper, s.diff(chainID), !s.opt.Squash); err != nil {
			return err
		}
	}
	return shelf.WriteNote(dir, shelf.Note{Chain: chainID})
}

func (s *Store) diff(chain string) string {
	return filepath.Join(s.layers.Path(shelf.Key(chain)), diffDir)
}

// Remove deletes a snapshot.
func (s *Store) Remove(ctx context.Context, id string) error {
	l, err := s.snapshots.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return s.snapshots.Delete(ctx, l)
}

// RemoveLayer deletes a layer that nothing stands on.
func (s *Store) RemoveLayer(ctx context.Context, chainID string) error {
	l, err := s.layers.Lock(ctx, shelf.Key(chainID))
	if err != nil {
		return err
	}
	defer l.Unlock()
	if _, err := s.layers.Layer(chainID); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := s.users(chainID); err != nil {
		return err
	}
	return s.layers.Delete(ctx, l)
}

func (s *Store) users(chainID string) error {
	ids, err := s.snapshots.Names()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if n, err := s.snapshots.ReadNote(id); err == nil && n.Chain == chainID {
			return fmt.Errorf("layer %s: %w: by %s", chainID, snapshot.ErrInUse, id)
		}
	}
	keys, err := s.layers.Names()
	if err != nil {
		return err
	}
	for _, key := range keys {
		if n, err := s.layers.ReadNote(key); err == nil && n.Parent == chainID {
			return fmt.Errorf("layer %s: %w: by layer %s", chainID, snapshot.ErrInUse, n.Chain)
		}
	}
	return nil
}

// Layers lists the chain IDs of all layers.
func (s *Store) Layers() ([]string, error) {
	keys, err := s.layers.Names()
	var chains []string
	for _, key := range keys {
		if n, err := s.layers.ReadNote(key); err == nil {
			chains = append(chains, n.Chain)
		}
	}
	return chains, err
}

// Snapshots lists the snapshots.
func (s *Store) Snapshots() ([]string, error) { return s.snapshots.Names() }

// Usage is the room that the upper directory takes.
func (s *Store) Usage(id string) (int64, error) {
	return tree.Usage(filepath.Join(s.snapshots.Path(id), upperDir))
}

// Clean removes what killed processes left.
func (s *Store) Clean(ctx context.Context) error {
	return errors.Join(s.layers.Clean(ctx), s.snapshots.Clean(ctx))
}
