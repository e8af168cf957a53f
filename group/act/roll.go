package act

import (
	"context"
	"errors"
	"fmt"
	"time"

	"coracle/group/model"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
)

// roll replaces running containers some at a time, as the service's
// update_config says, and looks after each batch whether the new ones run.
func (r *running) roll(ctx context.Context, s *types.ServiceConfig, steps []plan.Step) error {
	u := s.Deploy.UpdateConfig
	batch := len(steps)
	if u.Parallelism == nil {
		batch = 1
	} else if n := int(*u.Parallelism); n > 0 {
		batch = min(n, batch)
	}
	var replaced []*former
	var failed error
	for i := 0; i < len(steps); i += batch {
		if i > 0 && u.Delay > 0 {
			if err := sleep(ctx, time.Duration(u.Delay)); err != nil {
				return err
			}
		}
		now := steps[i:min(i+batch, len(steps))]
		done := make([]*former, len(now))
		indices := make([]int, len(now))
		for j := range now {
			indices[j] = j
		}
		err := every(indices, func(j int) (err error) {
			done[j], err = r.swap(ctx, s, now[j], u)
			return err
		})
		for _, f := range done {
			if f != nil {
				replaced = append(replaced, f)
			}
		}
		if err == nil || ctx.Err() != nil {
			if err != nil {
				return err
			}
			continue
		}
		if u.FailureAction == "continue" {
			failed = errors.Join(failed, err)
			continue
		}
		if u.FailureAction == "rollback" {
			return errors.Join(fmt.Errorf("update of service %s: %w", s.Name, err), r.back(ctx, s, replaced))
		}
		return fmt.Errorf("update of service %s is paused: %w", s.Name, err)
	}
	return failed
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// former is what a container was before it was replaced.
type former struct {
	step plan.Step
	was  *container.InspectResponse
	now  *plan.Container
}

// swap replaces one container and waits until the new one is well. What it was
// is returned as soon as the old one is gone.
func (r *running) swap(ctx context.Context, s *types.ServiceConfig, step plan.Step, u *types.UpdateConfig) (*former, error) {
	was, err := r.Engine.Inspect(ctx, step.Old.ID, false)
	if err != nil {
		return nil, err
	}
	f := &former{step: step, was: was}
	inherit := step.Old.Anonymous()
	if r.opt.NewVolume {
		inherit = nil
	}
	id := "Container " + step.Container
	first := u.Order == "start-first"
	err = r.step(ctx, id, "Recreate", "Recreated", func() error {
		c, err := r.make(ctx, s, step, step.Old.ID[:12]+"_"+step.Container, inherit)
		if err != nil {
			return err
		}
		if !first {
			f.now = c
			if err := r.succeed(ctx, s, step.Old, c); err != nil {
				return err
			}
			return r.renew(ctx, s, c, u)
		}
		if err := r.renew(ctx, s, c, u); err != nil {
			// The old one still runs, and stays.
			r.drop(s.Name, c)
			r.keep(s.Name, step.Old)
			return errors.Join(err, Gone(r.Engine.Remove(context.WithoutCancel(ctx), c.ID, true, false)))
		}
		f.now = c
		return r.succeed(ctx, s, step.Old, c)
	})
	if f.now == nil {
		f = nil
	}
	return f, err
}

func (r *running) drop(service string, c *plan.Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keep []*plan.Container
	for _, o := range r.live[service] {
		if o != c {
			keep = append(keep, o)
		}
	}
	r.live[service] = keep
}

// renew starts a new container and watches it for the monitor time.
func (r *running) renew(ctx context.Context, s *types.ServiceConfig, c *plan.Container, u *types.UpdateConfig) error {
	if err := r.Actor.launch(ctx, c.ID); err != nil {
		return fmt.Errorf("container %s: %w", c.Name, err)
	}
	c.State = container.StateRunning
	if err := r.hooks(ctx, "post_start", s.PostStart, c); err != nil {
		return err
	}
	if err := r.healthy(ctx, c, true); err != nil {
		return err
	}
	watch := time.Duration(u.Monitor)
	if watch == 0 {
		watch = time.Second / 2
	}
	ctx, cancel := context.WithTimeout(ctx, watch)
	defer cancel()
	code, err := r.Engine.Wait(ctx, c.ID)
	if err == nil {
		return r.failure(c, fmt.Sprintf("container %s exited (%d)", c.Name, code))
	}
	if ctx.Err() == context.DeadlineExceeded {
		return nil
	}
	return err
}

// back puts back what the containers were.
func (r *running) back(ctx context.Context, s *types.ServiceConfig, list []*former) error {
	return every(list, func(f *former) error {
		return r.step(ctx, "Container "+f.step.Container, "Rolling back", "Rolled back", func() error {
			if err := Gone(r.Engine.Remove(ctx, f.now.ID, true, false)); err != nil {
				return err
			}
			r.drop(s.Name, f.now)
			d := &model.Draft{}
			d.Name, d.Pull, d.Config, d.Host = f.step.Container, "never", f.was.Config, f.was.HostConfig
			d.Network = networksOf(f.was)
			c, err := r.create(ctx, d)
			if err != nil {
				return err
			}
			c.Service, c.Number, c.Name = s.Name, f.step.Number, f.step.Container
			r.keep(s.Name, c)
			if err := r.Engine.Start(ctx, c.ID); err != nil {
				return err
			}
			c.State = container.StateRunning
			return nil
		})
	})
}
