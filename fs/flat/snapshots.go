package flat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Create copies an image's tree. The copy is not synced: a container's own
// files are not more durable than it makes them itself, and a power cut in the
// seconds after Create costs that container only.
func (s *Store) Create(ctx context.Context, id, chainID string) error {
	if err := shelf.Check(id); err != nil {
		return err
	}
	if chainID != "" {
		low, err := s.trees.Share(ctx, shelf.Key(chainID))
		if err != nil {
			return err
		}
		defer low.Unlock()
	}
	l, err := s.snapshots.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	if s.snapshots.Has(id) {
		return fmt.Errorf("snapshot %s: %w", id, fs.ErrExist)
	}
	var below shelf.Note
	if chainID != "" {
		if below, err = s.trees.Layer(chainID); err != nil {
			return fmt.Errorf("create %s: %w", id, err)
		}
	}
	dir, err := s.snapshots.Begin(ctx, l)
	if err == nil {
		err = s.fill(ctx, dir, chainID, below)
	}
	if err == nil {
		err = s.snapshots.Commit(l)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", id, err), s.snapshots.Abort(l))
	}
	return nil
}

func (s *Store) fill(ctx context.Context, dir, chainID string, below shelf.Note) error {
	root := filepath.Join(dir, rootDir)
	if err := tree.MakeRoot(root); err != nil {
		return err
	}
	if chainID != "" {
		if err := s.copy(ctx, chainID, below, root); err != nil {
			return err
		}
	}
	return shelf.WriteNote(dir, shelf.Note{Chain: chainID})
}

// Dir is the container's tree.
func (s *Store) Dir(id string) string { return filepath.Join(s.snapshots.Path(id), rootDir) }

// Mounts binds the container's tree.
func (s *Store) Mounts(id string) ([]specs.Mount, error) {
	if _, err := s.snapshots.ReadNote(id); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return []specs.Mount{{Type: "bind", Source: s.Dir(id), Options: []string{"bind", "rw"}}}, nil
}

// View binds the image's tree itself: nothing is copied.
func (s *Store) View(chainID string) ([]specs.Mount, error) {
	if _, err := s.trees.Layer(chainID); err != nil {
		return nil, fmt.Errorf("layer %s: %w", chainID, err)
	}
	return []specs.Mount{{Type: "bind", Source: s.tree(chainID), Options: []string{"bind", "ro"}}}, nil
}

// Remove deletes a container's tree.
func (s *Store) Remove(ctx context.Context, id string) error {
	l, err := s.snapshots.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return s.snapshots.Delete(ctx, l)
}

// RemoveLayer deletes an image's tree. A container's copy could do without it,
// but an image in use is in use on every rung. The trees of images that have
// more layers do not stand on this one.
func (s *Store) RemoveLayer(ctx context.Context, chainID string) error {
	l, err := s.trees.Lock(ctx, shelf.Key(chainID))
	if err != nil {
		return err
	}
	defer l.Unlock()
	if _, err := s.trees.Layer(chainID); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := s.users(chainID); err != nil {
		return err
	}
	return s.trees.Delete(ctx, l)
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
	return nil
}

// Layers lists the chain IDs of the images' trees.
func (s *Store) Layers() ([]string, error) {
	keys, err := s.trees.Names()
	var chains []string
	for _, key := range keys {
		if n, err := s.trees.ReadNote(key); err == nil {
			chains = append(chains, n.Chain)
		}
	}
	return chains, err
}

// Snapshots lists the containers' trees.
func (s *Store) Snapshots() ([]string, error) { return s.snapshots.Names() }

// Usage is the room that a container's tree takes. What it shares with the
// image by reflink counts too: the kernel does not tell them apart cheaply.
func (s *Store) Usage(id string) (int64, error) { return tree.Usage(s.Dir(id)) }

// Clean removes what killed processes left.
func (s *Store) Clean(ctx context.Context) error {
	return errors.Join(s.trees.Clean(ctx), s.snapshots.Clean(ctx))
}
