package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"coracle/backends/isolate"
	"coracle/engine/fetch"
	"coracle/engine/record"
	"coracle/engine/stream"
	"coracle/engine/wiring"
	"coracle/image"
)

func fail(k Kind, err error, format string, a ...any) *Error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, a...), Err: err}
}

// ErrDetached is what becomes of a caller who typed its keys; the process goes on.
var ErrDetached error = stream.ErrDetached{}

func invalid(err error) *Error { return &Error{Kind: Invalid, Err: err} }

// noContainer is a container that cannot be found, in Docker's words.
func noContainer(ref string, err error) error {
	switch {
	case errors.Is(err, record.ErrNotFound):
		return fail(NotFound, err, "No such container: %s", ref)
	case errors.Is(err, record.ErrAmbiguous):
		return fail(Invalid, err, "Multiple IDs found with provided prefix: %s", ref)
	}
	return err
}

// wireError gives an error of package wiring its kind.
func wireError(err error) error {
	var (
		absent   *wiring.NotFound
		conflict *wiring.Conflict
		refusal  *wiring.Refusal
		forbid   *wiring.Forbidden
		cannot   *wiring.Unavailable
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &absent):
		return &Error{Kind: NotFound, Err: err}
	case errors.As(err, &conflict):
		return &Error{Kind: Conflict, Err: err}
	case errors.As(err, &refusal):
		return invalid(err)
	case errors.As(err, &forbid):
		return &Error{Kind: Forbidden, Err: err}
	case errors.As(err, &cannot):
		return &Error{Kind: Unavailable, Err: err}
	}
	return &Error{Kind: Internal, Err: err}
}

func notRunning(c *record.Container) error {
	return fail(Conflict, nil, "container %s is not running", c.ID)
}

func restarting(c *record.Container) error {
	return fail(Conflict, nil, "Container %s is restarting, wait until the container is running", c.ID)
}

func nameTaken(e *record.NameTakenError) error {
	return fail(Conflict, e, `Conflict. The container name "/%s" is already in use by container "%s". You have to remove (or rename) that container to be able to reuse that name.`, e.Name, e.ID)
}

// startError says in Docker's words why the program of a container could not be
// started. The *isolate.ExecError stays reachable: it decides the exit code.
func startError(args []string, err error) error {
	var exec *isolate.ExecError
	if !errors.As(err, &exec) {
		return fail(Internal, err, "failed to start container: %v", err)
	}
	return fail(Invalid, err, "failed to start container: %s", execText(args, exec))
}

func execText(args []string, e *isolate.ExecError) string {
	said := e.Path
	if len(args) > 0 {
		said = args[0]
	}
	why := e.Errno.Error()
	if e.Errno == syscall.ENOENT && !strings.Contains(said, "/") {
		why = "executable file not found in $PATH"
	}
	s := fmt.Sprintf("exec: %q: %s", said, why)
	if e.Reason != "" && !strings.Contains(s, e.Reason) {
		s += ": " + e.Reason
	}
	return s
}

// exitCode is what state.json says of a container that did not start, Docker's
// numbers.
func exitCode(err error) int {
	var exec *isolate.ExecError
	if errors.As(err, &exec) {
		if exec.Errno == syscall.ENOENT {
			return 127
		}
		return 126
	}
	return 128
}

// noImage is an image that cannot be had.
func noImage(ref string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var platform *image.PlatformError
	switch {
	case errors.As(err, &platform):
		return fail(NotFound, err, "%v", err)
	case errors.Is(err, image.ErrNotFound):
		return fail(NotFound, err, "No such image: %s", fetch.Familiar(ref))
	case fetch.Absent(err):
		return &Error{Kind: NotFound, Err: err}
	case errors.Is(err, image.ErrAmbiguous), errors.Is(err, image.ErrInvalid):
		return invalid(err)
	}
	return err
}

// stateError says why the state directory cannot be used.
func stateError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fail(Unavailable, err, "state directory %s is on a read-only file system", dir)
	case errors.Is(err, os.ErrPermission):
		return fail(Unavailable, err, "state directory %s: %v", dir, err)
	case errors.Is(err, record.ErrNotOurs), errors.Is(err, record.ErrVersion):
		return fail(Unavailable, err, "%v", err)
	}
	return fmt.Errorf("state directory %s: %w", dir, err)
}
