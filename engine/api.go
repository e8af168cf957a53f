package engine

import (
	"context"
	"errors"
	"io"

	"coracle/backends"
	"coracle/image"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
)

// Engine runs containers below one state directory, for one user.
type Engine struct {
	opt Options
}

var errSoon = &Error{Kind: Internal, Err: errors.ErrUnsupported}

// Open makes the engine of the state directory that opt names.
func Open(ctx context.Context, opt Options) (*Engine, error) { return &Engine{opt: opt}, errSoon }

// Report is what was found out about this machine.
func (e *Engine) Report() *probe.Report { return nil }

// Selection is the rung taken for each concern.
func (e *Engine) Selection() *backends.Selection { return nil }

// Images is the image store.
func (e *Engine) Images() image.API { return nil }

// Info describes the engine in Docker's shape.
func (e *Engine) Info(ctx context.Context) (*system.Info, error) { return nil, errSoon }

// Create makes a container of an image.
func (e *Engine) Create(ctx context.Context, opt CreateOptions) (id string, warnings []string, err error) {
	return "", nil, errSoon
}

// Start starts a container; one monitor process stays with it.
func (e *Engine) Start(ctx context.Context, ref string) error { return errSoon }

// Run starts a container and is its monitor until it ends.
func (e *Engine) Run(ctx context.Context, ref string, s Streams) (code int, err error) {
	return 125, errSoon
}

// Attach joins the streams of a container that a detached monitor holds.
func (e *Engine) Attach(ctx context.Context, ref string, s Streams) (code int, detached bool, err error) {
	return 125, false, errSoon
}

// Exec runs one more process in a running container. Without any stream it is
// detached: it goes on after Exec has returned.
func (e *Engine) Exec(ctx context.Context, ref string, req container.ExecCreateRequest, s Streams) (code int, err error) {
	return 125, errSoon
}

// Stop ends a container: signal ("" for its own), then SIGKILL after timeout
// seconds (nil: its own or 10; negative: never).
func (e *Engine) Stop(ctx context.Context, ref, signal string, timeout *int) error { return errSoon }

// Kill sends a signal ("" for SIGKILL) to a container's first process.
func (e *Engine) Kill(ctx context.Context, ref, signal string) error { return errSoon }

// Wait blocks until a container has ended and returns its exit code.
func (e *Engine) Wait(ctx context.Context, ref string) (code int, err error) { return 125, errSoon }

// Remove deletes a container; with volumes also its anonymous volumes.
func (e *Engine) Remove(ctx context.Context, ref string, force, volumes bool) error { return errSoon }

// List lists containers, newest first.
func (e *Engine) List(ctx context.Context, opt ListOptions) ([]container.Summary, error) {
	return nil, errSoon
}

// Inspect tells all about a container.
func (e *Engine) Inspect(ctx context.Context, ref string, size bool) (*container.InspectResponse, error) {
	return nil, errSoon
}

// Logs writes a container's log to stdout and stderr.
func (e *Engine) Logs(ctx context.Context, ref string, opt LogOptions, stdout, stderr io.Writer) error {
	return errSoon
}

// MonitorName is argv[0] of a detached monitor; FileOpName that of the helper
// which works on files of other IDs in a user namespace.
const (
	MonitorName = "coracle-monitor"
	FileOpName  = "coracle-fsop"
)

// MonitorMain is the main of a process called by MonitorName; it returns the
// exit code.
func MonitorMain(args []string) int { return 125 }

// FileOpMain is the main of a process called by FileOpName.
func FileOpMain() int { return 125 }
