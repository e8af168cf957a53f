// Package act does what a plan says: it creates, starts, replaces, stops and
// removes the containers of a group over the calls of an engine, side by side
// where nothing forbids it. It decides nothing: package plan does.
package act

import (
	"context"
	"io"
	"net/netip"
	"time"

	"coracle/engine"
	"coracle/group/model"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
)

// Engine is what a group needs of an engine; it is called from many goroutines.
type Engine interface {
	List(ctx context.Context, opt engine.ListOptions) ([]container.Summary, error)
	Inspect(ctx context.Context, ref string, size bool) (*container.InspectResponse, error)
	Make(ctx context.Context, d *model.Draft) (id string, warnings []string, err error)
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref, signal string, timeout *int) error
	Remove(ctx context.Context, ref string, force, volumes bool) error
	Rename(ctx context.Context, ref, name string) error
	Wait(ctx context.Context, ref string) (code int, err error)
	Exec(ctx context.Context, ref string, req container.ExecCreateRequest, s engine.Streams) (code int, err error)
	Logs(ctx context.Context, ref string, opt engine.LogOptions, stdout, stderr io.Writer) error
	Resources
	Images
}

// Resources are networks and volumes.
type Resources interface {
	// Networks lists them by name, with their labels; wired is false where this
	// engine has none.
	Networks(ctx context.Context) (list map[string]map[string]string, wired bool, err error)
	MakeNetwork(ctx context.Context, r network.CreateRequest) error
	RemoveNetwork(ctx context.Context, name string) error
	Volumes(ctx context.Context) (list map[string]map[string]string, err error)
	MakeVolume(ctx context.Context, r volume.CreateRequest) error
	RemoveVolume(ctx context.Context, name string) error
}

// Images is where containers come from.
type Images interface {
	// Image is the ID of an image; "" where it is not there.
	Image(ctx context.Context, ref, platform string) (id string, err error)
	Pull(ctx context.Context, ref, platform string, report func(engine.PullEvent)) (id string, err error)
	RemoveImage(ctx context.Context, ref string) error
}

// Hosting is what an engine may know of the host that containers share.
type Hosting interface {
	// Shared: containers listen on the host's own network.
	Shared() bool
	// Busy tells whether somebody listens on a port of the host.
	Busy() func(proto string, addr netip.Addr, port uint16) bool
	// Exposes are the ports that an image declares, where it is here.
	Exposes(ctx context.Context, ref, platform string) []string
}

// Dated is an engine that knows when it pulled an image last.
type Dated interface {
	Pulled(ref, platform string) time.Time
}

// Status is how far something is.
type Status string

// The states of an Event, as docker compose names them.
const (
	Working Status = "Working"
	Done    Status = "Done"
	Warning Status = "Warning"
	Failed  Status = "Error"
)

// Event is one step of a command's progress.
type Event struct {
	ID     string // "Container shop-web-1"
	Status Status
	Text   string // "Creating"
	Detail string
}

// Actor carries out plans.
type Actor struct {
	Engine Engine
	// Tell is told of every step, one at a time; nil: nobody is.
	Tell func(Event)
	// Parallel is how many containers are worked on at once; 0: no bound.
	Parallel int

	tell  chan struct{}
	slots chan struct{}
}

// New makes an actor.
func New(e Engine, parallel int, tell func(Event)) *Actor {
	a := &Actor{Engine: e, Tell: tell, Parallel: parallel, tell: make(chan struct{}, 1)}
	if parallel > 0 {
		a.slots = make(chan struct{}, parallel)
	}
	return a
}

func (a *Actor) event(id string, s Status, text string, detail ...string) {
	if a.Tell == nil {
		return
	}
	e := Event{ID: id, Status: s, Text: text}
	if len(detail) > 0 {
		e.Detail = detail[0]
	}
	a.tell <- struct{}{}
	a.Tell(e)
	<-a.tell
}

// step does one thing and tells of its beginning and its end.
func (a *Actor) step(ctx context.Context, id, begin, end string, do func() error) error {
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.event(id, Working, begin)
	if err := do(); err != nil {
		if ctx.Err() == nil {
			a.event(id, Failed, "Error", err.Error())
		}
		return err
	}
	a.event(id, Done, end)
	return nil
}
