package command

import (
	"context"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newRestart(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Restart one or more containers",
		ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:     stopFlags(),
	}
	v.Action = func(c *cli.Context) error {
		timeout := timeoutOf(c)
		return t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
			return engine.Restart(ctx, e, ref, c.String("signal"), timeout)
		})
	}
	return v
}

// stopFlags are those by which a container is stopped; see timeoutOf.
func stopFlags() []cli.Flag {
	return []cli.Flag{
		text("signal", "s", "Signal to send to the container"),
		number("timeout", "t", "Seconds to wait before killing the container"),
		&cli.IntFlag{Name: "time", Usage: "The same as --timeout", Hidden: true},
	}
}

// timeoutOf is what --timeout says, by either of its names.
func timeoutOf(c *cli.Context) (timeout *int) {
	for _, name := range []string{"time", "timeout"} {
		if c.IsSet(name) {
			n := c.Int(name)
			timeout = &n
		}
	}
	return timeout
}
