package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"coracle/engine/fsop"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/engine/volume"
	"coracle/fs/tree"
	"coracle/probe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CopyUp fills fresh volumes with what the image has in their places.
func (m *Machine) CopyUp(ctx context.Context, c *record.Container, mounts []specs.Mount, dir string, fresh []record.Mount) error {
	var copies []fsop.Copy
	for _, v := range fresh {
		copies = append(copies, fsop.Copy{From: v.Destination, To: v.Source})
	}
	users := spec.UserNS(c.Drivers.Isolation)
	if dir != "" && (!users || m.maps().Single) {
		return fsop.CopyUp(ctx, nil, dir, copies)
	}
	root := filepath.Join(c.RunDir, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	helper := fsop.InMountNS()
	if users {
		helper = fsop.InUserNS(m.maps())
	} else if m.report.Lacks(probe.NSMount) {
		return errors.New("copy the image's files to a volume: needs mount namespaces or rootfs=copy")
	}
	if dir != "" {
		return helper.CopyUp(ctx, nil, dir, copies)
	}
	return helper.CopyUp(ctx, mounts, root, copies)
}

// RemoveTree deletes a tree of a container's own files, which may belong to any
// ID of its user namespace.
func (m *Machine) RemoveTree(ctx context.Context, c *record.Container, path string) error {
	if spec.UserNS(c.Drivers.Isolation) && !m.maps().Single {
		return fsop.InUserNS(m.maps()).Delete(ctx, path)
	}
	return tree.Remove(ctx, path)
}

// Volumes are the volumes of a state directory, as containers of a rung of
// isolation use them.
func (m *Machine) Volumes(records *record.Store, d record.Drivers) *volume.Store {
	return volume.Open(records, func(ctx context.Context, path string) error {
		return m.RemoveTree(ctx, &record.Container{Drivers: d}, path)
	})
}

// FileOpName is argv[0] of the helper that works on files of other IDs in a user
// namespace, FileOpMain its main.
const FileOpName = fsop.Name

// FileOpMain returns the helper's exit code.
func FileOpMain() int { return fsop.Main(OpenSnapshots) }
