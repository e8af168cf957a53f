package engine

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"coracle/engine/keep"
	"coracle/engine/record"
	"coracle/engine/spec"
	"coracle/engine/stream"

	"github.com/moby/moby/api/types/container"
)

// Pause stops all processes of a container.
func Pause(ctx context.Context, e *Engine, ref string) error { return suspend(ctx, e, ref, orderPause) }

// Unpause lets them go on.
func Unpause(ctx context.Context, e *Engine, ref string) error {
	return suspend(ctx, e, ref, orderUnpause)
}

func suspend(ctx context.Context, e *Engine, ref, what string) error {
	c, state, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	if !state.Running {
		if what == orderUnpause {
			return fail(Conflict, nil, "Container %s is not paused", c.ID)
		}
		return notRunning(c)
	}
	_, err = ask(c, stream.Order{Do: what})
	return err
}

// Restart stops a container as Stop does, if it runs, and starts it.
func Restart(ctx context.Context, e *Engine, ref, signal string, timeout *int) error {
	c, _, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	sig, grace, err := stopWith(c, signal, timeout)
	if err != nil {
		return err
	}
	// Held over both: nobody starts or removes it in between.
	lock, err := e.store.Lock(c)
	if err != nil {
		return noContainer(ref, err)
	}
	defer lock.Release()
	state, err := c.State()
	if err != nil {
		return err
	}
	if state.Running && c.Alive() {
		if err := e.end(ctx, c, &state, stream.Order{Signal: sig, Keep: true}, grace); err != nil {
			return err
		}
		happened(e, c, "stop")
	}
	if err := startLocked(ctx, e, c, errand{ID: c.ID}); err != nil {
		return err
	}
	happened(e, c, "restart")
	return nil
}

// Rename gives a container another name.
func Rename(ctx context.Context, e *Engine, ref, name string) error {
	e.made.Store(nil)
	c, _, err := e.find(ctx, ref)
	if err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "/")
	old := c.Name
	switch {
	case name == "":
		return fail(Invalid, nil, "Neither old nor new names may be empty")
	case name == old:
		return fail(Invalid, nil, "Renaming a container with the same name as its current name")
	case !record.ValidName(name):
		return fail(Invalid, nil, "Error when allocating new name: Invalid container name (/%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	c, lock, err := hold(e, c, ref)
	if err != nil {
		return err
	}
	defer lock.Release()
	err = e.store.Rename(c, name)
	var taken *record.NameTakenError
	if errors.As(err, &taken) {
		return fail(Conflict, taken, "Error when allocating new name: %v", nameTaken(taken))
	}
	if err != nil {
		return noContainer(ref, err)
	}
	if err := e.wires.Renamed(c, old); err != nil {
		e.opt.Warn("names on networks: " + err.Error())
	}
	happened(e, c, "rename", "oldName", "/"+old)
	return nil
}

// hold locks c and reads it anew.
func hold(e *Engine, c *record.Container, ref string) (*record.Container, *record.Lock, error) {
	lock, err := e.store.Lock(c)
	if err != nil {
		return nil, nil, noContainer(ref, err)
	}
	if c, err = e.store.Load(c.ID); err != nil {
		lock.Release()
		return nil, nil, noContainer(ref, err)
	}
	return c, lock, nil
}

// Update changes a container's limits, now if it runs, and its restart policy. What
// is zero stays as it is. What this rung cannot do is returned.
func Update(ctx context.Context, e *Engine, ref string, u container.UpdateConfig) (warnings []string, err error) {
	e.made.Store(nil)
	c, _, err := e.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	c, lock, err := hold(e, c, ref)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	old := *c.HostConfig
	if err := container.ValidateRestartPolicy(u.RestartPolicy); err != nil {
		return nil, invalid(err)
	}
	asked := u.Resources
	if asked.Memory == 0 {
		asked.MemorySwap = 0 // it goes with the memory that is set already
	}
	if err := validateResources(&asked); err != nil {
		return nil, err
	}
	if err := keep.Overlay(c.HostConfig, &u); err != nil {
		return nil, fail(Conflict, err, "Cannot update container %s: %v", c.ID, err)
	}
	if err := validateResources(&c.HostConfig.Resources); err != nil {
		return nil, err
	}
	state, err := c.State()
	if err != nil {
		return nil, err
	}
	not, err := relimit(e, c, state.Running && !state.Restarting && c.Alive())
	if err == nil && len(not) > 0 && e.opt.Strict {
		err = fail(Unavailable, nil, "%s", not[0])
	}
	if err == nil {
		err = e.store.Rewrite(c)
	}
	if err != nil {
		// All or nothing.
		c.HostConfig = &old
		relimit(e, c, state.Running && c.Alive())
		return nil, fail(kindOf(err), err, "Cannot update container %s: %v", c.ID, err)
	}
	happened(e, c, "update")
	return not, nil
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// relimit gives a running container's group the limits of its record.
func relimit(e *Engine, c *record.Container, running bool) (warnings []string, err error) {
	r, err := spec.Limits(&c.HostConfig.Resources)
	if err != nil {
		return nil, invalid(err)
	}
	d, err := e.mach.Limits(c.Drivers.Limits)
	if err != nil || !running {
		return nil, err
	}
	group, err := d.Open(c.ID, c.HostConfig.CgroupParent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, err
	}
	not, err := group.Update(r)
	for _, n := range not {
		warnings = append(warnings, n.Limit+" cannot be held: "+n.Why)
	}
	return warnings, err
}
