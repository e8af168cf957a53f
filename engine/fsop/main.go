package fsop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"coracle/fs/snapshot"
	"coracle/fs/tree"
	"coracle/image"

	securejoin "github.com/cyphar/filepath-securejoin"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Main is the helper's main; it returns the exit code.
func Main(open Opener) int {
	data, err := io.ReadAll(os.Stdin)
	var r request
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	var a answer
	if err == nil {
		// The files' modes are those of the archive or the source.
		unix.Umask(0)
		err = r.run(context.Background(), open, &a)
	}
	if json.NewEncoder(os.Stdout).Encode(answerOf(a, err)) != nil {
		return 1
	}
	return 0
}

func (r *request) run(ctx context.Context, open Opener, a *answer) error {
	switch r.Op {
	case "copy":
		return CopyUp(ctx, r.Mounts, r.Root, r.Copies)
	case "delete":
		return tree.Remove(ctx, r.Root)
	}
	d, err := open(r.Where.Rung, r.Where.Dir, r.Where.Options)
	if err != nil {
		return err
	}
	switch r.Op {
	case "unpack", "check", "mend":
		return r.image(ctx, d, a)
	case "create":
		return d.Create(ctx, r.ID, r.Chain)
	case "remove":
		return d.Remove(ctx, r.ID)
	case "removelayer":
		return d.RemoveLayer(ctx, r.Chain)
	case "clean":
		return d.Clean(ctx)
	case "usage":
		a.N, err = d.Usage(r.ID)
		return err
	case "layerusage":
		a.N, err = d.LayerUsage(r.Chain)
		return err
	}
	return fmt.Errorf("%s: unknown request %q", Name, r.Op)
}

// image works with the layers of an image of the store.
func (r *request) image(ctx context.Context, d snapshot.Driver, a *answer) error {
	store, err := image.Open(r.Where.Images)
	if err != nil {
		return err
	}
	img, err := store.Get(ctx, r.ID, "")
	if err != nil {
		return err
	}
	if r.Op == "unpack" {
		return d.Unpack(ctx, store.SnapshotLayers(img))
	}
	a.Damage, err = d.Check(ctx, store.SnapshotLayers(img), r.Op == "mend")
	return err
}

// CopyUp mounts a root and fills directories from it. With no mounts the root is
// a directory as it is, and this can be called in any process.
func CopyUp(ctx context.Context, mounts []specs.Mount, root string, copies []Copy) error {
	if len(mounts) > 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return os.NewSyscallError("make mounts private", err)
		}
		for _, m := range mounts {
			if err := Mount(m, root); err != nil {
				return fmt.Errorf("mount %s on %s: %w", m.Type, root, err)
			}
		}
	}
	for _, c := range copies {
		// The image may hold links to anywhere.
		from, err := securejoin.SecureJoin(root, c.From)
		if err != nil {
			return err
		}
		st, err := os.Lstat(from)
		if errors.Is(err, os.ErrNotExist) || err == nil && !st.IsDir() {
			continue
		}
		if err != nil {
			return err
		}
		if err := fill(ctx, from, c.To); err != nil {
			return fmt.Errorf("copy %s of the image to its volume: %w", c.From, err)
		}
	}
	return nil
}

// fill copies into a directory beside, which takes the volume's place when it is
// complete: a volume that was filled half would not be filled again.
func fill(ctx context.Context, from, to string) error {
	aside := filepath.Dir(to) + "/.filling"
	if err := tree.Remove(ctx, aside); err != nil {
		return err
	}
	if err := os.Mkdir(aside, 0o755); err != nil {
		return err
	}
	err := tree.Copy(ctx, from, aside, tree.CopyOptions{})
	if err == nil {
		err = unix.Rename(aside, to) // to is empty
	}
	if err != nil {
		tree.Remove(ctx, aside)
	}
	return err
}

// Mount mounts m, one of a root's, on root.
func Mount(m specs.Mount, root string) error {
	var flags uintptr
	var data []string
	chdir := ""
	for _, o := range m.Options {
		switch {
		case o == "bind":
			flags |= unix.MS_BIND
		case o == "rbind":
			flags |= unix.MS_BIND | unix.MS_REC
		case o == "ro":
			flags |= unix.MS_RDONLY
		case o == "nodev":
			flags |= unix.MS_NODEV
		case o == "nosuid":
			flags |= unix.MS_NOSUID
		case strings.HasPrefix(o, "x-chdir="):
			chdir = strings.TrimPrefix(o, "x-chdir=")
		case strings.HasPrefix(o, "x-"), o == "rw", o == "":
		default:
			data = append(data, o)
		}
	}
	if chdir != "" {
		if err := os.Chdir(chdir); err != nil {
			return err
		}
		defer os.Chdir("/")
	}
	return os.NewSyscallError("mount", unix.Mount(m.Source, root, m.Type, flags, strings.Join(data, ",")))
}
