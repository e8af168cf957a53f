package command

import (
	"context"
	"errors"
	"fmt"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

// errNothing says to each that there was nothing to do, which is no failure.
var errNothing = errors.New("nothing to do")

// each calls do for every container named, prints the name of each that
// worked, says why each other did not, and fails if any did.
func (t *tool) each(c *cli.Context, do func(ctx context.Context, e *engine.Engine, ref string) error) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	failed := false
	for _, ref := range c.Args().Slice() {
		switch err := do(c.Context, eng, ref); {
		case errors.Is(err, errNothing):
			continue
		case err != nil:
			t.complain(err)
			failed = true
			continue
		}
		fmt.Fprintln(t.Out, ref)
	}
	if failed {
		return status(1)
	}
	return nil
}

func newStop(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Stop one or more running containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     stopFlags(),
	}
	v.Action = func(c *cli.Context) error {
		timeout := timeoutOf(c)
		return t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
			return unlessDone(e.Stop(ctx, ref, c.String("signal"), timeout))
		})
	}
	return v
}

// unlessDone forgets an error that says that all is as it should be.
func unlessDone(err error) error {
	var e *engine.Error
	if errors.As(err, &e) && e.Kind == engine.NotModified {
		return nil
	}
	return err
}

func newKill(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Kill one or more running containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     []cli.Flag{text("signal", "s", "Signal to send to the container")},
	}
	v.Action = func(c *cli.Context) error {
		return t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
			return e.Kill(ctx, ref, c.String("signal"))
		})
	}
	return v
}

func newWait(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Block until one or more containers stop, then print their exit codes",
		ArgsUsage: "CONTAINER [CONTAINER...]",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		var failed error
		for _, ref := range c.Args().Slice() {
			code, err := eng.Wait(c.Context, ref)
			if err != nil {
				t.complain(err)
				failed = status(1)
				continue
			}
			fmt.Fprintln(t.Out, code)
		}
		return failed
	}
	return v
}

func newRm(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Remove one or more containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			toggle("force", "f", "Force the removal of a running container (uses SIGKILL)"),
			toggle("volumes", "v", "Remove anonymous volumes associated with the container"),
		},
	}
	v.Action = func(c *cli.Context) error {
		force := c.Bool("force")
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		var failed error
		for _, ref := range c.Args().Slice() {
			err := eng.Remove(c.Context, ref, force, c.Bool("volumes"))
			var e *engine.Error
			switch {
			case err == nil:
				fmt.Fprintln(t.Out, ref)
			case force && errors.As(err, &e) && e.Kind == engine.NotFound:
				// Gone is what was asked for: said, but no failure.
				t.complain(err)
			default:
				t.complain(err)
				failed = status(1)
			}
		}
		return failed
	}
	return v
}
