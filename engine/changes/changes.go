// Package changes works on the files of containers from without: what they
// changed (diff), an image of it (commit), all of it (export), and copies to
// and fro (cp). Running or not, on every rung of root filesystems, and without
// leaving a mount behind.
//
// Trees are read and written by descriptors and single names. A container that
// swaps parts of a path while it is walked gains nothing.
package changes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"coracle/engine"
	"coracle/engine/machine"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/internal/sys"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"
)

// Docker's words.
var (
	errNoDirectory    = errors.New("extraction point is not a directory")
	errVolumeReadonly = errors.New("mounted volume is marked read-only")
	errRootReadonly   = errors.New("container rootfs is marked read-only")
)

// Files are those of one container, which is not started or removed meanwhile.
type Files struct {
	held *engine.Held
	ref  string
	warn func(string)
}

// Open finds a container. Close it.
func Open(ctx context.Context, e *engine.Engine, ref string, warn func(string)) (*Files, error) {
	h, err := engine.Hold(ctx, e, ref)
	if err != nil {
		return nil, err
	}
	return &Files{h, ref, warn}, nil
}

// Close lets the container go.
func (f *Files) Close() { f.held.Release() }

// Stat is what there is at a path of a container.
type Stat struct {
	Name       string
	Size       int64
	Mode       uint32 // st_mode
	LinkTarget string // of a symbolic link: where it ends, from the root
}

// Link and Dir tell what it is.
func (s *Stat) Link() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// Dir tells whether it is a directory.
func (s *Stat) Dir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// Diff lists what the container changed, by path.
func (f *Files) Diff(ctx context.Context) ([]container.FilesystemChange, error) {
	j, err := f.tree("diff")
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	var list []container.FilesystemChange
	done := make(chan error, 1)
	go func() {
		for dec := json.NewDecoder(r); ; {
			var c container.FilesystemChange
			err := dec.Decode(&c)
			if err != nil {
				r.CloseWithError(err)
				if err == io.EOF {
					err = nil
				}
				done <- err
				return
			}
			list = append(list, c)
		}
	}()
	_, err = f.do(ctx, j, nil, w)
	w.CloseWithError(err)
	if e := <-done; err == nil {
		err = e
	}
	slices.SortFunc(list, func(a, b container.FilesystemChange) int { return strings.Compare(a.Path, b.Path) })
	return list, err
}

// Export writes the container's tree as a tar, without what is mounted in it.
func (f *Files) Export(ctx context.Context, out io.Writer) error {
	j, err := f.tree("export")
	if err != nil {
		return err
	}
	if _, err = f.do(ctx, j, nil, out); err == nil {
		f.held.Tell("export")
	}
	return err
}

// Stat looks at a path. An absent one is an error of the kind NotFound.
func (f *Files) Stat(ctx context.Context, path string) (*Stat, error) {
	j, err := f.paths("stat", path)
	if err != nil {
		return nil, err
	}
	a, err := f.do(ctx, j, nil, nil)
	if err != nil {
		return nil, f.noFile(path, err)
	}
	return a.Stat, nil
}

// Get writes path as a tar, by its last name; by "." where it ends with "/.".
func (f *Files) Get(ctx context.Context, path string, out io.Writer) error {
	j, err := f.paths("get", path)
	if err != nil {
		return err
	}
	if _, err = f.do(ctx, j, nil, out); err == nil {
		f.held.Tell("archive-path")
	}
	return f.noFile(path, err)
}

// Put unpacks a tar into the directory path. With archive the files become
// those of the container's user.
func (f *Files) Put(ctx context.Context, path string, in io.Reader, archive bool) error {
	j, err := f.paths("put", path)
	if err != nil {
		return err
	}
	if f.held.View && !f.held.State.Running {
		return &engine.Error{Kind: engine.Invalid, Err: errRootReadonly}
	}
	j.ReadOnly = f.held.HostConfig.ReadonlyRootfs
	if archive {
		j.Owner = f.held.Config.User
	}
	a, err := f.do(ctx, j, in, nil)
	if a != nil {
		for _, line := range a.Notes {
			f.warn(line)
		}
	}
	if err = f.noFile(path, err); err != nil {
		return &InsideError{err}
	}
	f.held.Tell("extract-to-dir")
	return nil
}

func (f *Files) noFile(path string, err error) error {
	var known *engine.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, syscall.ENOENT) {
		return &engine.Error{Kind: engine.NotFound, Err: err, Msg: fmt.Sprintf("Could not find the file %s in container %s", path, f.ref)}
	}
	return err
}

// tree is a job that reads the layers.
func (f *Files) tree(op string) (*job, error) {
	l, err := f.held.Machine.Layers(f.held.Container)
	if err != nil {
		return nil, err
	}
	j := &job{Op: op, Kind: l.Kind, Old: l.Image, New: l.Root, Users: spec.UserNS(f.held.Drivers.Isolation)}
	if l.Kind == "flat" && len(l.Root) > 0 {
		// The copy was given its place when it was complete (shelf.Add).
		var st unix.Stat_t
		if err := unix.Stat(filepath.Dir(l.Root[0]), &st); err != nil {
			return nil, err
		}
		j.Made = st.Ctim
	}
	return j, nil
}

// paths is a job that goes through the root with its volumes: the running one,
// or one that is put together for it.
func (f *Files) paths(op, path string) (*job, error) {
	c := f.held.Container
	j := &job{Op: op, Path: path, Users: spec.UserNS(c.Drivers.Isolation), Held: f.held.State.Running}
	for _, m := range c.Mounts {
		if m.Type == "volume" || m.Type == "bind" {
			j.Binds = append(j.Binds, bind{m.Source, m.Destination, !m.RW})
		}
	}
	if j.Held {
		return j, nil
	}
	slices.SortStableFunc(j.Binds, func(a, b bind) int { return len(a.To) - len(b.To) })
	snaps, err := f.held.Machine.Snapshots(c.Drivers.Rootfs, c.Drivers.Isolation)
	if err != nil {
		return nil, err
	}
	j.Root = machine.RootDir(c, snaps)
	if snaps.Dir(c.ID) != "" && !c.View && len(j.Binds) == 0 {
		return j, nil
	}
	if !j.Users && f.held.Machine.Report().Lacks(probe.NSMount) {
		return nil, &engine.Error{Kind: engine.Unavailable, Msg: "copy to or from a container that does not run: needs mount namespaces"}
	}
	j.Root = filepath.Join(c.RunDir, "rootfs")
	if err := os.MkdirAll(j.Root, 0o755); err != nil {
		return nil, err
	}
	j.Mounts, err = machine.RootMounts(c, snaps)
	return j, err
}

// do has the job done, here or by a helper.
func (f *Files) do(ctx context.Context, j *job, in io.Reader, out io.Writer) (*answer, error) {
	var root *os.File
	if j.Held {
		var err error
		if root, err = f.running(); err != nil {
			return nil, err
		}
		defer root.Close()
	}
	if j.Users || len(j.Mounts) > 0 {
		return f.call(ctx, j, root, in, out)
	}
	fd := -1
	if root != nil {
		fd = int(root.Fd())
	}
	a := &answer{}
	if err := j.run(ctx, fd, in, out, a); err != nil {
		return nil, err
	}
	return a, nil
}

// running opens the root as the container's first process sees it.
func (f *Files) running() (*os.File, error) {
	s := &f.held.State
	root, err := sys.OfProcess(s.Pid, func(dir string) (*os.File, error) {
		return os.OpenFile(dir+"/root", os.O_RDONLY|unix.O_DIRECTORY, 0)
	})
	if err != nil || record.StartTime(s.Pid) != s.StartTime {
		if err == nil {
			root.Close()
			err = os.ErrProcessDone
		}
		return nil, &engine.Error{Kind: engine.Conflict, Err: err, Msg: fmt.Sprintf("container %s has just ended, or its root cannot be opened: %v", f.held.ID, err)}
	}
	return root, nil
}

// call has the helper do the job.
func (f *Files) call(ctx context.Context, j *job, root *os.File, in io.Reader, out io.Writer) (*answer, error) {
	var theirs, ours []*os.File
	defer func() {
		for _, file := range append(theirs, ours...) {
			file.Close()
		}
	}()
	for range 4 { // input, output, job, answer
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if i := len(theirs); i == 1 || i == 3 {
			r, w = w, r
		}
		theirs, ours = append(theirs, r), append(ours, w)
	}
	files := []*os.File{theirs[0], theirs[1], os.Stderr, theirs[2], theirs[3]}
	if root != nil {
		files = append(files, root)
	}
	wait, err := f.held.Machine.Command(ctx, f.held.Drivers.Isolation, Name, files)
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		return nil, err
	}
	json.NewEncoder(ours[2]).Encode(j) // an error of his is in his answer
	ours[2].Close()
	src := &source{Reader: in}
	go func() {
		if in != nil {
			io.Copy(ours[0], src)
		}
		ours[0].Close()
	}()
	var wrote error
	if out != nil {
		if _, wrote = io.Copy(out, ours[1]); wrote != nil {
			ours[1].Close() // he is not to write on
		}
	}
	var a answer
	err = json.NewDecoder(ours[3]).Decode(&a)
	if e := wait(); err != nil && e != nil {
		err = e
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case wrote != nil:
		return nil, wrote
	case src.failed.Load() != nil:
		return nil, *src.failed.Load() // which he took for the end
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", Name, j.Op, err)
	case a.Err != "":
		return &a, &remote{a.Err, a.Errno}
	}
	return &a, nil
}

// source is what the helper reads.
type source struct {
	io.Reader
	failed atomic.Pointer[error]
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && err != io.EOF {
		s.failed.Store(&err)
	}
	return n, err
}

// InsideError is about what is written to a container's files, wherever they lie: in
// the state directory, in a volume, in a directory of the host.
type InsideError struct{ Err error }

func (e *InsideError) Error() string { return e.Err.Error() }
func (e *InsideError) Unwrap() error { return e.Err }

// remote is an error of the helper; its errno stays reachable.
type remote struct {
	msg   string
	errno syscall.Errno
}

func (e *remote) Error() string { return e.msg }

func (e *remote) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}
