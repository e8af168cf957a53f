package command

import (
	"context"
	"errors"
	"strings"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newStart(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Start one or more stopped containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			toggle("attach", "a", "Attach STDOUT/STDERR and forward signals"),
			detachKeysFlag(),
			toggle("interactive", "i", "Attach container's STDIN"),
		},
	}
	v.Action = func(c *cli.Context) error {
		if !c.Bool("attach") && !c.Bool("interactive") {
			var failed []string
			err := t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
				err := unlessDone(e.Start(ctx, ref))
				if err != nil {
					failed = append(failed, ref)
				}
				return err
			})
			if failed != nil {
				return errors.New("failed to start containers: " + strings.Join(failed, ", "))
			}
			return err
		}
		if c.NArg() > 1 {
			return errors.New("you cannot start and attach multiple containers at once")
		}
		return t.startAttached(c, v)
	}
	return v
}

func (t *tool) startAttached(c *cli.Context, v *verb) error {
	keys, err := v.detachKeys(c)
	if err != nil {
		return err
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ref := c.Args().First()
	info, err := eng.Inspect(c.Context, ref, false)
	if err != nil {
		return err
	}
	a := attachment{
		stdin:  c.Bool("interactive") && info.Config.OpenStdin,
		stdout: true, stderr: true, terminal: info.Config.Tty, signals: proxied(true), keys: keys,
	}
	if err := t.checkTerminal(a.stdin, a.terminal); err != nil {
		return err
	}
	s, restore, err := t.streams(a)
	if err != nil {
		return err
	}
	defer restore()
	code, err := eng.Run(c.Context, ref, s)
	return ended(code, err)
}

func newAttach(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Attach local standard input, output, and error streams to a running container",
		ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			detachKeysFlag(),
			toggle("no-stdin", "", "Do not attach STDIN"),
			sigProxyFlag(),
		},
	}
	v.Action = func(c *cli.Context) error { return t.attach(c, v) }
	return v
}

func (t *tool) attach(c *cli.Context, v *verb) error {
	keys, err := v.detachKeys(c)
	if err != nil {
		return err
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	info, err := eng.Inspect(c.Context, c.Args().First(), false)
	if err != nil {
		return err
	}
	a := attachment{
		stdin:  info.Config.OpenStdin && !c.Bool("no-stdin"),
		stdout: true, stderr: true, terminal: info.Config.Tty, signals: proxied(c.Bool("sig-proxy")), keys: keys,
	}
	if err := t.checkTerminal(a.stdin, a.terminal); err != nil {
		return err
	}
	s, restore, err := t.streams(a)
	if err != nil {
		return err
	}
	defer restore()
	code, detached, err := eng.Attach(c.Context, c.Args().First(), s)
	if detached {
		err = engine.ErrDetached
	}
	return leaving(code, err)
}
