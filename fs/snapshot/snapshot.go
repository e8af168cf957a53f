// Package snapshot is the contract of the drivers that keep image layers and
// give each container a root filesystem of its own.
//
// # Vocabulary
//
// A layer is a read-only change set, named by its chain ID. A snapshot is a
// container's writable tree on top of a layer. A view is a layer seen
// read-only, shared by all who look at it, with nothing copied.
//
// # Promises
//
// A layer or a snapshot is complete or absent: a killed Unpack or Create
// leaves only something that the next call (or Clean) deletes. Nothing is
// mounted by the driver: Mounts and View return what the container's second
// stage mounts in a namespace of its own. Two processes may use one driver
// directory at once.
package snapshot

import (
	"context"
	"errors"
	"io"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Layer is one layer of an image.
type Layer struct {
	// DiffID is the digest of the uncompressed tar ("sha256:…").
	DiffID string
	// ChainID names this layer with all layers below it.
	ChainID string
	// Open returns the uncompressed tar stream; it fails at the end when the
	// bytes do not match DiffID.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Driver keeps layers and snapshots below one directory.
type Driver interface {
	// Name is the rung's name in backends/all.go.
	Name() string
	// Unpack makes the image of layers, base first, present. What is already
	// there is not unpacked again.
	Unpack(ctx context.Context, layers []Layer) error
	// Has tells whether chainID can be used by Create and View.
	Has(chainID string) bool
	// Create makes the writable snapshot id on top of layer chainID ("" for
	// an empty root). An existing id is an error that Is fs.ErrExist.
	Create(ctx context.Context, id, chainID string) error
	// Mounts tells how to mount snapshot id; see isolate.Bundle.RootMounts.
	Mounts(id string) ([]specs.Mount, error)
	// View tells how to mount layer chainID read-only.
	View(chainID string) ([]specs.Mount, error)
	// Dir is the snapshot's plain directory where its tree can be used with no
	// mount at all (copy, reflink), and "" where it cannot.
	Dir(id string) string
	// Remove deletes a snapshot; an absent one is not an error.
	Remove(ctx context.Context, id string) error
	// RemoveLayer deletes a layer that nothing stands on. One in use is ErrInUse.
	RemoveLayer(ctx context.Context, chainID string) error
	// Layers and Snapshots list what is complete.
	Layers() ([]string, error)
	Snapshots() ([]string, error)
	// Usage is the size in bytes of what snapshot id holds of its own (nothing, when
	// it was just made), and LayerUsage that of a layer.
	Usage(id string) (int64, error)
	LayerUsage(chainID string) (int64, error)
	// Check unpacks layers, base first, once more aside and tells in what those
	// that are present differ. With mend it makes them as they should be, also
	// under containers that use them; without, it marks them as Damaged.
	Check(ctx context.Context, layers []Layer, mend bool) ([]Damage, error)
	// Damaged tells whether a Check has marked a layer, and none mended it since.
	Damaged(chainID string) bool
	// Clean deletes what killed processes left half-made.
	Clean(ctx context.Context) error
}

// Damage is one thing that is not as a layer's archive says.
type Damage struct {
	ChainID string // of the layer, or of the topmost where there is one tree of all
	Path    string // in the layer
	What    string // "has other contents"
}

// MaxDamage bounds how much of it Check tells of one layer.
const MaxDamage = 100

// The sentinels.
var (
	ErrInUse       = errors.New("layer is in use")
	ErrUnsupported = errors.New("not supported here")
)

// Options are common to all drivers.
type Options struct {
	// Squash gives every file to the caller instead of the owner in the
	// archive, and leaves out device nodes: for a user namespace that maps one
	// ID only, or a user without one.
	Squash bool
	// SquashUnmapped gives the caller those files alone whose owner has no ID in
	// the user namespace, which is an error without it.
	SquashUnmapped bool
	// UserXattr marks whiteouts with "user." attributes, which overlay inside
	// a user namespace reads, instead of "trusted." ones.
	UserXattr bool
	// MaxBytes bounds what one layer may unpack to; 0: unbounded.
	MaxBytes int64
}
