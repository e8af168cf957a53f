// Package layer turns an image layer, a tar stream made by strangers, into a
// directory tree.
//
// Nothing in an archive can reach outside the directory: every name is walked
// component by component with descriptors that never follow a symbolic link;
// links are resolved here, inside the tree. openat2(2) is not needed, so the
// same code runs on every kernel.
//
// Not for archives that a user wants unpacked somewhere on the host: whiteouts
// are understood, and what a filesystem cannot hold is left out with a note.
package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Style is how deletions ("whiteouts") end up in the tree.
type Style int

// The styles.
const (
	// Flat deletes: the directory holds the tree of the layers below.
	Flat Style = iota
	// Overlay makes what overlayfs reads: character devices 0/0 and
	// attributes.
	Overlay
	// AUFS keeps the archive's own ".wh." files, which aufs reads.
	AUFS
)

// Options say how Apply unpacks.
type Options struct {
	Style Style
	// Squash gives every file to the caller, and leaves out device nodes.
	Squash bool
	// SquashUnmapped gives the caller those files alone whose owner has no ID in the
	// user namespace, which is an error without it.
	SquashUnmapped bool
	// UserXattr marks opaque directories with "user.overlay." attributes.
	UserXattr bool
	// MaxBytes bounds what is unpacked; each entry counts 512 bytes and its
	// size. 0: unbounded.
	MaxBytes int64
}

// Stats is what Apply did.
type Stats struct {
	Entries int
	Bytes   int64 // of file contents
	Xattrs  int   // extended attributes set
	Root    bool  // the archive has an entry for the root directory
	// Notes say what was left out; at most MaxNotes.
	Notes []string
}

// MaxNotes bounds Stats.Notes.
const MaxNotes = 100

// The sentinels.
var (
	ErrTooLarge = errors.New("layer is too large")
	ErrUnsafe   = errors.New("name leads out of the tree")
	ErrInvalid  = errors.New("invalid layer")
)

// TooLargeError Is ErrTooLarge.
type TooLargeError struct{ Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: more than %d bytes unpacked", ErrTooLarge, e.Limit)
}

func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// Mend is what would help.
func (e *TooLargeError) Mend() string {
	return "if the image is to be trusted, raise max-layer-size in the configuration file"
}

// Apply unpacks the uncompressed tar r into the existing directory dir, which
// should be reachable by nobody else meanwhile. r is read to its end, so that
// a reader that verifies there gets to. After an error, what has been unpacked
// is left to the caller to remove.
func Apply(ctx context.Context, r io.Reader, dir string, opt Options) (Stats, error) {
	a := &applier{trail: trail{ctx: ctx, opt: opt}, buf: make([]byte, 256<<10)}
	if opt.Style == Flat {
		a.mine = map[string]struct{}{}
	}
	a.umask, a.uid, a.gid = sys.Umask(), unix.Geteuid(), unix.Getegid()
	fd, err := sys.Openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return a.stats, err
	}
	if err := a.begin(fd); err != nil {
		return a.stats, err
	}
	br := bufio.NewReaderSize(r, 256<<10)
	err = a.all(tar.NewReader(br))
	if err == nil {
		err = a.drain(br)
	}
	if end := a.end(err == nil); err == nil {
		err = end
	}
	return a.stats, err
}

type applier struct {
	trail
	buf   []byte
	gid   int
	stats Stats
	spent int64 // of MaxBytes
}

func (a *applier) all(tr *tar.Reader) error {
	for {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readErr(err)
		}
		a.stats.Entries++
		if err := a.spend(512); err != nil {
			return err
		}
		if err := a.entry(hdr, tr); err != nil {
			return fmt.Errorf("unpack %q: %w", hdr.Name, err)
		}
	}
}

// readErr tells a broken archive from a reader that failed.
func readErr(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return fmt.Errorf("read layer: %w", err)
}

// drain reads what follows the archive's end: padding, and the end of the
// stream, at which the reader tells whether its digest is right.
func (a *applier) drain(r io.Reader) error {
	for {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(a.buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readErr(err)
		}
		if err := a.spend(int64(n)); err != nil {
			return err
		}
	}
}

func (a *applier) spend(n int64) error {
	a.spent += n
	if a.opt.MaxBytes > 0 && a.spent > a.opt.MaxBytes {
		return &TooLargeError{a.opt.MaxBytes}
	}
	return nil
}

func (a *applier) note(format string, args ...any) {
	if len(a.stats.Notes) < MaxNotes {
		a.stats.Notes = append(a.stats.Notes, fmt.Sprintf(format, args...))
	}
}
