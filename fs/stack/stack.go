// Package stack keeps each image layer in a directory of its own, and gives each
// container an empty directory to go on top. The drivers for filesystems that
// lay directories over each other are made of it.
//
// On disk: layers/KEY/d is a layer's change set, snapshots/ID/u a container's
// (the upper directory), snapshots/ID/w room that overlayfs works in.
package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/fs/layer"
	"coracle/fs/shelf"
	"coracle/fs/snapshot"
	"coracle/fs/tree"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The parts of an object. Short, because mount(2) takes one page of options.
const (
	diffDir  = "d"
	upperDir = "u"
	workDir  = "w"
)

// Store is all of a driver but its name and its mounts.
type Store struct {
	shelf.Pair
	style layer.Style
	opt   snapshot.Options
}

// New is the store in dir, with whiteouts in the style of the filesystem.
func New(dir string, style layer.Style, opt snapshot.Options) (*Store, error) {
	p, err := shelf.NewPair(dir, "layers")
	return &Store{p, style, opt}, err
}

// Dir is empty: a container's tree exists mounted only.
func (s *Store) Dir(string) string { return "" }

// Base is the directory that the names of Lowers and Snapshot are relative to:
// the one that keeps those of the many layers shortest.
func (s *Store) Base() string { return s.Lower.Dir() }

// Lowers are the directories of a layer and those below it, the topmost first.
func (s *Store) Lowers(chainID string) ([]string, error) {
	var dirs []string
	for chain := chainID; chain != ""; {
		n, err := s.Lower.Layer(chain)
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
	n, err := s.Upper.ReadNote(id)
	if err != nil {
		return nil, "", "", fmt.Errorf("snapshot %s: %w", id, err)
	}
	at := filepath.Join("..", "snapshots", id)
	lowers, err = s.Lowers(n.Chain)
	return lowers, filepath.Join(at, upperDir), filepath.Join(at, workDir), err
}

// Create makes an empty upper directory.
func (s *Store) Create(ctx context.Context, id, chainID string) error {
	return s.Add(ctx, id, chainID, func(dir string, _ shelf.Note) error { return s.fill(dir, chainID) })
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
	if chainID == "" {
		return nil
	}
	return tree.Like(upper, s.diff(chainID), !s.opt.Squash)
}

func (s *Store) diff(chain string) string {
	return filepath.Join(s.Lower.Path(shelf.Key(chain)), diffDir)
}

// Bind mounts the directory rel of Base alone.
func (s *Store) Bind(rel, access string) []specs.Mount {
	return []specs.Mount{{Type: "bind", Source: filepath.Join(s.Base(), rel), Options: []string{"bind", access}}}
}

// maxData is what mount(2) takes as options: one page with its final zero.
const maxData = 4095

// Union mounts count directories over each other by the filesystem kind, whose
// options opts name them relative to Base, so that 128 layers fit.
func (s *Store) Union(kind, source string, count int, opts []string) ([]specs.Mount, error) {
	if n := len(strings.Join(opts, ",")); n > maxData {
		return nil, fmt.Errorf("%s mount of %d layers: %d bytes of options: %w", kind, count, n, unix.E2BIG)
	}
	opts = append(opts, "x-chdir="+s.Base())
	return []specs.Mount{{Type: kind, Source: source, Options: opts}}, nil
}

// Usage is the room that the upper directory takes.
func (s *Store) Usage(id string) (int64, error) {
	return tree.Usage(filepath.Join(s.Upper.Path(id), upperDir))
}
