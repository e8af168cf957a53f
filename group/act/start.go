package act

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"coracle/engine"
	"coracle/group/load"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
)

// Group are the containers of a project that are to run.
type Group struct {
	*Actor
	Project *load.Project // nil: a group without files
	Live    map[string][]*plan.Container
	Anew    map[string]bool // IDs of those that are stopped before they start
	Only    map[string]bool // IDs of those that start, the others are left alone; nil: all
	Timeout *int
	// Started is told of each container that was started; it may be nil.
	Started func(c *plan.Container, begin time.Time)
}

// graph is what waits for what.
func (g *Group) graph() plan.Graph {
	if g.Project != nil {
		return plan.Project(g.Project.Project)
	}
	out := plan.Graph{}
	for name, list := range g.Live {
		out[name] = types.DependsOnConfig{}
		if len(list) > 0 {
			out[name] = list[0].Depends
		}
	}
	return out
}

func (g *Group) service(name string) *types.ServiceConfig {
	if g.Project == nil {
		return nil
	}
	if s, ok := g.Project.Services[name]; ok {
		return &s
	}
	return nil
}

// Start starts what does not run, in the order of dependencies, each when what
// it waits for is in the state that it wants.
func (g *Group) Start(ctx context.Context) error {
	graph := g.graph()
	return each(ctx, graph, func(ctx context.Context, name string) error {
		var todo []*plan.Container
		for _, c := range g.Live[name] {
			if (!c.Running() || g.Anew[c.ID]) && (g.Only == nil || g.Only[c.ID]) {
				todo = append(todo, c)
			}
		}
		if len(todo) == 0 {
			return nil
		}
		if err := g.Dependencies(ctx, name, graph[name]); err != nil {
			return err
		}
		return all(ctx, todo, func(ctx context.Context, c *plan.Container) error { return g.start(ctx, name, c) })
	})
}

func (g *Group) start(ctx context.Context, service string, c *plan.Container) error {
	id := "Container " + c.Name
	s := g.service(service)
	if g.Anew[c.ID] {
		if err := g.step(ctx, id, "Stopping", "Stopped", func() error { return g.halt(ctx, s, c, g.Timeout) }); err != nil {
			return err
		}
	}
	return g.step(ctx, id, "Starting", "Started", func() error {
		begin := time.Now()
		if err := g.launch(ctx, c.ID); err != nil {
			return fmt.Errorf("container %s: %w", c.Name, err)
		}
		c.State = container.StateRunning
		if g.Started != nil {
			g.Started(c, begin)
		}
		if s != nil {
			return g.hooks(ctx, "post_start", s.PostStart, c)
		}
		return nil
	})
}

// launch starts a container. One that is running already is well; one of which
// another command, that may have been killed, left the monitor at its start is
// waited for, and started if nothing comes of it.
func (a *Actor) launch(ctx context.Context, id string) error {
	for end := time.Now().Add(10 * time.Second); ; {
		err := a.Engine.Start(ctx, id)
		var e *engine.Error
		if !errors.As(err, &e) || e.Kind != engine.NotModified {
			return Gone(err)
		}
		i, err := a.Engine.Inspect(ctx, id, false)
		if err != nil || i.State.Status != container.StateCreated {
			return Gone(err)
		}
		if time.Now().After(end) {
			return errors.New("another command has been starting it for ten seconds")
		}
		if err := sleep(ctx, look/5); err != nil {
			return err
		}
	}
}

// Dependencies waits until all that a service waits for are as it wants them.
func (g *Group) Dependencies(ctx context.Context, name string, deps types.DependsOnConfig) error {
	var list []string
	for dep := range deps {
		list = append(list, dep)
	}
	return all(ctx, list, func(ctx context.Context, dep string) error {
		d := deps[dep]
		if d.Condition == types.ServiceConditionStarted || g.none(dep) {
			return nil // the order saw to it
		}
		live := g.Live[dep]
		if g.Only != nil && !slices.ContainsFunc(live, func(c *plan.Container) bool { return g.Only[c.ID] }) {
			return nil // it was left alone, as it is
		}
		if len(live) == 0 {
			if d.Required {
				return fmt.Errorf("%s is missing dependency %s", name, dep)
			}
			g.event("Service "+dep, Warning, "Skipped", name+" is missing dependency "+dep)
			return nil
		}
		err := g.Await(ctx, live, d.Condition)
		if err != nil && !d.Required && ctx.Err() == nil {
			g.event("Service "+dep, Warning, "Skipped", fmt.Sprintf("optional dependency %q failed to start: %v", dep, err))
			return nil
		}
		return err
	})
}

// none tells whether a service is meant to have no container.
func (g *Group) none(name string) bool {
	if g.Project == nil {
		return false
	}
	s, ok := g.Project.Services[name]
	return !ok || s.GetScale() == 0
}

// hooks runs the commands of a moment of a container's life, one after another.
func (a *Actor) hooks(ctx context.Context, moment string, hooks []types.ServiceHook, c *plan.Container) error {
	for _, h := range hooks {
		req := container.ExecCreateRequest{
			User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Cmd: h.Command,
			AttachStdout: true, AttachStderr: true,
		}
		for k, v := range h.Environment {
			if v != nil {
				k += "=" + *v
			}
			req.Env = append(req.Env, k)
		}
		out := &tail{}
		code, err := a.Engine.Exec(ctx, c.ID, req, engine.Streams{Stdout: out, Stderr: out})
		if err != nil {
			return fmt.Errorf("container %s: %s hook: %w", c.Name, moment, err)
		}
		if code != 0 {
			return &Error{Container: c.Name, Msg: fmt.Sprintf("container %s: %s hook exited with status %d", c.Name, moment, code), Log: out.lines()}
		}
	}
	return nil
}
