package flat

import (
	"context"
	"fmt"
	"path/filepath"

	"coracle/fs/shelf"
	"coracle/fs/tree"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Create copies an image's tree. The copy is not synced: a container's own
// files are not more durable than it makes them itself, and a power cut in the
// seconds after Create costs that container only.
func (s *Store) Create(ctx context.Context, id, chainID string) error {
	return s.Add(ctx, id, chainID, func(dir string, below shelf.Note) error {
		root := filepath.Join(dir, rootDir)
		if err := tree.MakeRoot(root); err != nil || chainID == "" {
			return err
		}
		return s.copy(ctx, chainID, below, root)
	})
}

// Dir is the container's tree.
func (s *Store) Dir(id string) string { return filepath.Join(s.Upper.Path(id), rootDir) }

// Mounts binds the container's tree.
func (s *Store) Mounts(id string) ([]specs.Mount, error) {
	if _, err := s.Upper.ReadNote(id); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return []specs.Mount{{Type: "bind", Source: s.Dir(id), Options: []string{"bind", "rw"}}}, nil
}

// View binds the image's tree itself: nothing is copied.
func (s *Store) View(chainID string) ([]specs.Mount, error) {
	if _, err := s.Lower.Layer(chainID); err != nil {
		return nil, fmt.Errorf("layer %s: %w", chainID, err)
	}
	return []specs.Mount{{Type: "bind", Source: s.tree(chainID), Options: []string{"bind", "ro"}}}, nil
}

// Usage is by how much a container's tree is larger than its image's: what it has of
// its own, but for what it deleted or changed in place.
func (s *Store) Usage(id string) (int64, error) {
	n, err := s.Upper.ReadNote(id)
	if err != nil {
		return 0, err
	}
	size, err := tree.Usage(s.Dir(id))
	if err != nil || n.Chain == "" {
		return size, err
	}
	image, err := tree.Usage(s.tree(n.Chain))
	return max(0, size-image), err
}
