// Package fsop works on files that the calling process cannot: as root of the
// containers' user namespace, where every ID of the range is ours, or in a mount
// namespace of its own, where a container's root can be looked at.
//
// The work is done by our own binary, called by Name, which reads a request from
// descriptor 0 and answers on descriptor 1.
package fsop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"coracle/backends/isolate/userns"
	"coracle/fs/snapshot"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Name is argv[0] of the helper.
const Name = "coracle-fsop"

// Where is the snapshot driver to work on.
type Where struct {
	Rung    string
	Dir     string
	Images  string // the image store's directory
	Options snapshot.Options
}

// Copy is one directory to be filled from a container's root.
type Copy struct {
	From string // inside the root
	To   string // on the host
}

// request is what the helper is to do.
type request struct {
	Op     string // "unpack", "check", "mend", "create", "remove", "removelayer", "clean", "usage", "layerusage", "copy", "delete"
	Where  Where
	ID     string
	Chain  string
	Mounts []specs.Mount
	Root   string
	Copies []Copy
}

// answer is what came of it.
type answer struct {
	Err   string
	Errno syscall.Errno
	In    bool   // ErrInUse
	Un    bool   // ErrUnsupported
	Mend  string // what would help
	N     int64

	Damage []snapshot.Damage
}

// remoteError is an error of the helper; errno and sentinels stay reachable.
type remoteError struct {
	msg   string
	mend  string
	cause error
}

func (e *remoteError) Error() string { return e.msg }
func (e *remoteError) Unwrap() error { return e.cause }

// Mend is what would help, or "".
func (e *remoteError) Mend() string { return e.mend }

// Helper starts the helper somewhere.
type Helper func(ctx context.Context, files []*os.File) (wait func() error, err error)

// InUserNS starts it as root of a user namespace with maps.
func InUserNS(maps userns.IDMaps) Helper {
	return func(ctx context.Context, files []*os.File) (func() error, error) {
		return userns.Command(ctx, maps, Name, files)
	}
}

// InMountNS starts it, as root, in a mount namespace of its own.
func InMountNS() Helper {
	return func(ctx context.Context, files []*os.File) (func() error, error) {
		return Start(ctx, Name, files)
	}
}

// Start starts our binary by the name arg0, with files as its descriptors, in a
// mount namespace of its own.
func Start(ctx context.Context, arg0 string, files []*os.File) (wait func() error, err error) {
	exe, _, err := sys.Self()
	if err != nil {
		return nil, err
	}
	f := sys.Fork{Flags: unix.CLONE_NEWNS, Path: exe, Args: []string{arg0}, Env: os.Environ()}
	for _, file := range files {
		f.Files = append(f.Files, int(file.Fd()))
	}
	return f.Start(ctx)
}

// call has the helper do r.
func (h Helper) call(ctx context.Context, r *request) (a answer, err error) {
	data, err := json.Marshal(r)
	if err != nil {
		return a, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return a, err
	}
	defer in.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		return a, err
	}
	defer out.Close()
	wait, err := h(ctx, []*os.File{theirIn, theirOut, os.Stderr})
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		return a, err
	}
	in.Write(data)
	in.Close()
	reply, err := io.ReadAll(out)
	if e := wait(); err == nil {
		err = e
	}
	if ctx.Err() != nil {
		return a, ctx.Err()
	}
	if json.Unmarshal(reply, &a) != nil {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return a, fmt.Errorf("%s %s: %w", Name, r.Op, err)
	}
	return a, a.err()
}

func (a *answer) err() error {
	if a.Err == "" {
		return nil
	}
	e := &remoteError{msg: a.Err, mend: a.Mend}
	switch {
	case a.In:
		e.cause = snapshot.ErrInUse
	case a.Un:
		e.cause = snapshot.ErrUnsupported
	case a.Errno != 0:
		e.cause = a.Errno
	}
	return e
}

func answerOf(a answer, err error) answer {
	if err == nil {
		return a
	}
	a.Err = err.Error()
	errors.As(err, &a.Errno)
	var known interface{ Mend() string } // *layer.UnmappedError, *layer.TooLargeError
	if errors.As(err, &known) {
		a.Mend = known.Mend()
	}
	a.In, a.Un = errors.Is(err, snapshot.ErrInUse), errors.Is(err, snapshot.ErrUnsupported)
	return a
}

// CopyUp fills directories from a container's root, which is mounted at root in
// the helper's mount namespace.
func (h Helper) CopyUp(ctx context.Context, mounts []specs.Mount, root string, copies []Copy) error {
	_, err := h.call(ctx, &request{Op: "copy", Mounts: mounts, Root: root, Copies: copies})
	return err
}

// Delete deletes a tree.
func (h Helper) Delete(ctx context.Context, path string) error {
	_, err := h.call(ctx, &request{Op: "delete", Root: path})
	return err
}
