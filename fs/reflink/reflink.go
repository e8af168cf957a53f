// Package reflink is the root filesystem rung for btrfs, XFS with reflink=1 and
// others that can share the data of files: a container gets a tree of its own
// at the price of its names.
package reflink

import (
	"coracle/fs/flat"
	"coracle/fs/snapshot"
)

// Reflink is the driver. On a filesystem that cannot share, Create fails with
// an error that Is snapshot.ErrUnsupported.
type Reflink struct{ *flat.Store }

var _ snapshot.Driver = (*Reflink)(nil)

// New is the driver in dir. It touches nothing yet.
func New(dir string, opt snapshot.Options) (*Reflink, error) {
	s, err := flat.New(dir, opt, true)
	return &Reflink{s}, err
}

// Name is the rung's name.
func (*Reflink) Name() string { return "reflink" }
