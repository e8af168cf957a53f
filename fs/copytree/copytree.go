// Package copytree is the root filesystem rung that works on any filesystem:
// a container gets a full copy of the image's tree.
package copytree

import (
	"coracle/fs/flat"
	"coracle/fs/snapshot"
)

// Copytree is the driver.
type Copytree struct{ *flat.Store }

var _ snapshot.Driver = (*Copytree)(nil)

// New is the driver in dir. It touches nothing yet.
func New(dir string, opt snapshot.Options) (*Copytree, error) {
	s, err := flat.New(dir, opt, false)
	return &Copytree{s}, err
}

// Name is the rung's name.
func (*Copytree) Name() string { return "copy" }
