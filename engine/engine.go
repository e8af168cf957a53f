// Package engine is a container's life. It is the one room that brings images,
// root filesystems, isolation, limits and wiring together.
package engine

import (
	"io"
	"os"
	"time"

	"coracle/backends"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Options say where the state is and what the user wished.
type Options struct {
	Root   string // durable state; "" for the default of this user
	Run    string // what does not outlive a boot; "" for the default
	Wish   backends.Wish
	Strict bool // what a rung cannot honour is an error
	// Warn receives one line a warning; nil drops them.
	Warn func(string)
}

// Streams are the caller's ends of a container's standard streams.
type Streams struct {
	Stdin  *os.File // nil: not attached
	Stdout io.Writer
	Stderr io.Writer
	// Terminal: Stdin is in raw mode and the container has a terminal.
	Terminal bool
	// Size is the terminal's size, rows and columns, now; nil without one.
	Size func() (rows, cols uint16)
	// Signals are passed on to the container; SIGWINCH resizes its terminal.
	// nil: none are (--sig-proxy=false).
	Signals <-chan os.Signal
	// DetachKeys end the attachment without ending the container; nil: none.
	DetachKeys []byte
}

// CreateOptions are what `create` and `run` were told.
type CreateOptions struct {
	Name     string // "" for a made-up one
	Platform string
	Pull     string // "missing" (default), "never", "always"
	// Pulling is told of a pull; it may be nil.
	Pulling func(PullEvent)
	Config  *container.Config
	// Networking says more of the networks that the container is to be on, by
	// name.
	Networking *network.NetworkingConfig
	Host       *container.HostConfig
	// Served are ports that the container declares and serves at other ones,
	// because the network is the host's (wiring=hostports).
	Served map[network.Port]uint16
	// PIDFile receives the host PID of the container's first process.
	PIDFile string
}

// ListOptions are those of `ps`.
type ListOptions struct {
	All     bool
	Last    int // the n last created, whatever their state; 0: no bound
	Size    bool
	Filters map[string][]string
}

// LogOptions are those of `logs`.
type LogOptions struct {
	Follow     bool
	Timestamps bool
	Details    bool
	Tail       int // -1: all
	Since      time.Time
	Until      time.Time
}

// Kind classes an error as Docker's API does.
type Kind int

// The kinds, each with Docker's HTTP status.
const (
	Internal    Kind = iota // 500
	NotFound                // 404
	Conflict                // 409
	Invalid                 // 400
	Unavailable             // 501: this machine cannot
	NotModified             // 304: already in that state
	Forbidden               // 403
)

// Error is an error with a kind; its text is Docker's where Docker has one.
type Error struct {
	Kind Kind
	Msg  string
	Err  error
}

func (e *Error) Error() string {
	if e.Msg == "" && e.Err != nil {
		return e.Err.Error()
	}
	return e.Msg
}

func (e *Error) Unwrap() error { return e.Err }
