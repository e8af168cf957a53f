package act

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"coracle/engine"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
)

// RunningOrHealthy is what `up --wait` waits for.
const RunningOrHealthy = "running_or_healthy"

// Error is a container that did not become what it should, with the last lines
// that it wrote.
type Error struct {
	Container string
	Msg       string
	Log       []string
}

func (e *Error) Error() string { return e.Msg }

// look is how often a state is looked at that nobody tells of.
const look = 50 * time.Millisecond

// Await waits until every container is in a state.
func (a *Actor) Await(ctx context.Context, list []*plan.Container, condition string) error {
	return all(ctx, list, func(ctx context.Context, c *plan.Container) error {
		a.event("Container "+c.Name, Working, "Waiting")
		text, err := "Healthy", error(nil)
		if condition == types.ServiceConditionCompletedSuccessfully {
			text = "Exited"
			err = a.completed(ctx, c)
		} else {
			err = a.healthy(ctx, c, condition == RunningOrHealthy)
		}
		if err != nil {
			if ctx.Err() == nil {
				a.event("Container "+c.Name, Failed, "Error", err.Error())
			}
			return err
		}
		a.event("Container "+c.Name, Done, text)
		return nil
	})
}

func (a *Actor) completed(ctx context.Context, c *plan.Container) error {
	code, err := a.Engine.Wait(ctx, c.ID)
	if err != nil {
		return err
	}
	if code != 0 {
		return a.failure(c, fmt.Sprintf("service %q didn't complete successfully: exit %d", c.Service, code))
	}
	return nil
}

// healthy waits for a health check; without one, running is enough if allowed.
func (a *Actor) healthy(ctx context.Context, c *plan.Container, running bool) error {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		i, err := a.Engine.Inspect(ctx, c.ID, false)
		if err != nil {
			return err
		}
		done, why := healthOf(i, running)
		if done {
			return nil
		}
		if why != "" {
			return a.failure(c, fmt.Sprintf("dependency failed to start: container %s %s", c.Name, why))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// healthOf tells whether a container is well, or why it will not be; neither:
// it is not decided.
func healthOf(i *container.InspectResponse, running bool) (bool, string) {
	s := i.State
	checked := i.Config.Healthcheck != nil && len(i.Config.Healthcheck.Test) > 0 && i.Config.Healthcheck.Test[0] != "NONE"
	switch {
	case s.Status == container.StateExited || s.Status == container.StateDead:
		return false, fmt.Sprintf("exited (%d)", s.ExitCode)
	case !checked && running:
		return s.Status == container.StateRunning, ""
	case !checked:
		return false, "has no healthcheck configured"
	case s.Health == nil || s.Health.Status == container.Starting:
		return false, ""
	case s.Health.Status == container.Unhealthy:
		return false, "is unhealthy"
	}
	return s.Health.Status == container.Healthy, ""
}

// failure is an error with the end of the container's log.
func (a *Actor) failure(c *plan.Container, msg string) error {
	// Not with the caller's context: it may be over, and this is the explanation.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out := &tail{}
	a.Engine.Logs(ctx, c.ID, engine.LogOptions{Tail: tailLines}, out, out)
	return &Error{Container: c.Name, Msg: msg, Log: out.lines()}
}

const tailLines = 10

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if n := t.b.Len() - 16<<10; n > 0 {
		t.b.Next(n)
	}
	return len(p), nil
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimRight(t.b.String(), "\n")
	if text == "" {
		return nil
	}
	list := strings.Split(text, "\n")
	return list[max(0, len(list)-tailLines):]
}
