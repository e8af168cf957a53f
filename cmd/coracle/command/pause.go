package command

import (
	"context"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newPause(t *tool) *verb {
	return suspendVerb(t, "Pause all processes within one or more containers", engine.Pause)
}

func newUnpause(t *tool) *verb {
	return suspendVerb(t, "Unpause all processes within one or more containers", engine.Unpause)
}

func suspendVerb(t *tool, usage string, do func(context.Context, *engine.Engine, string) error) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{Usage: usage, ArgsUsage: "CONTAINER [CONTAINER...]"}
	v.Action = func(c *cli.Context) error { return t.each(c, do) }
	return v
}
