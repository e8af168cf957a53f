package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"coracle/engine/events"
	"coracle/engine/keep"
	"coracle/engine/record"
	"coracle/engine/stream"

	"github.com/moby/moby/api/types/container"
)

// outputOfCheck is how much of a check's output is kept, Docker's number.
const outputOfCheck = 4096

// checks are the health checks of one run.
type checks struct {
	l      *life
	health *keep.Health // guarded by l.mu, as is stop
	stop   chan struct{}
	done   sync.WaitGroup
}

// newChecks is called with l.mu held, when the container runs. nil: none are made.
func newChecks(l *life) *checks {
	h := keep.NewHealth(l.c.Config.Healthcheck, l.state.StartedAt)
	if h == nil {
		l.state.Health = nil
		return nil
	}
	l.state.Health = h.Brief()
	return &checks{l: l, health: h}
}

// begin begins to check; l.mu is held.
func (k *checks) begin() {
	if k == nil || k.stop != nil {
		return
	}
	stop := make(chan struct{})
	k.stop = stop
	k.done.Go(func() { k.run(stop) })
}

// end ends it; l.mu is held. Who wants the last check to be over waits for it.
func (k *checks) end() {
	if k == nil || k.stop == nil {
		return
	}
	close(k.stop)
	k.stop = nil
	k.health.Stopped()
	k.l.state.Health = k.health.Brief()
}

// wait waits for the last check; l.mu is not held.
func (k *checks) wait() {
	if k != nil {
		k.done.Wait()
	}
}

// now is the health with its log; l.mu is held.
func (k *checks) now() *container.Health {
	if k == nil {
		return nil
	}
	return k.health.Now()
}

func (k *checks) run(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }()
	l := k.l
	for {
		l.mu.Lock()
		pause := k.health.Pause(time.Now())
		state := l.state
		l.mu.Unlock()
		t := time.NewTimer(pause)
		select {
		case <-stop:
			t.Stop()
			return
		case <-t.C:
		}
		r := k.check(ctx, &state)
		l.mu.Lock()
		select {
		case <-stop:
			l.mu.Unlock()
			return
		default:
		}
		changed := k.health.Checked(r)
		status := k.health.Now().Status
		if changed {
			l.state.Health = k.health.Brief()
			l.c.SetState(l.state, false)
		}
		l.mu.Unlock()
		if changed && l.with.Health != nil {
			l.with.Health(string(status))
		}
		if changed {
			l.tell(events.Action("health_status: " + string(status)))
		}
	}
}

// check runs the test once.
func (k *checks) check(ctx context.Context, state *record.State) *container.HealthcheckResult {
	c, out := k.l.c, &bounded{}
	r := &container.HealthcheckResult{Start: time.Now()}
	timeout := k.health.Timeout()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req := container.ExecCreateRequest{Cmd: keep.Test(c.Config.Healthcheck, c.Config.Shell)}
	code, err := k.l.e.enter(ctx, c, state, &req, &Attended{Streams: Streams{Stdout: out, Stderr: out}, Pipe: true}, func(error) {})
	r.End, r.ExitCode, r.Output = time.Now(), code, out.String()
	switch {
	case ctx.Err() != nil:
		text := fmt.Sprintf("Health check exceeded timeout (%v)", timeout)
		if r.Output != "" {
			text += ": " + r.Output
		}
		r.ExitCode, r.Output = -1, text
	case err != nil:
		r.ExitCode, r.Output = -1, err.Error()
	}
	return r
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more bool
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := outputOfCheck - b.buf.Len()
	b.more = b.more || len(p) > room
	b.buf.Write(p[:min(len(p), room)])
	return len(p), nil
}

func (b *bounded) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.more {
		return b.buf.String() + "..."
	}
	return b.buf.String()
}

// healthOf asks the monitor of a running container for its health with the log,
// which is written down only at the end.
func healthOf(c *record.Container, s *record.State) *container.Health {
	if s.Health == nil || !s.Running || s.Restarting {
		return s.Health
	}
	var h container.Health
	data, err := ask(c, stream.Order{Do: orderHealth})
	if err != nil || json.Unmarshal(data, &h) != nil || h.Status == "" {
		return s.Health
	}
	return &h
}
