package command

import (
	"context"

	"coracle/cmd/coracle/argv"
	"coracle/cmd/coracle/compose"
	"coracle/engine"
	"coracle/engine/changes"

	"github.com/urfave/cli/v2"
)

// composeVerbs are docker compose's commands, below both words.
func composeVerbs() []entry {
	var list []entry
	for _, e := range compose.Verbs() {
		list = append(list, entry{
			make: func(t *tool) *verb {
				v := e.Make(composer(t))
				return &verb{Command: v.Command, mixed: v.Mixed, min: v.Min, max: v.Max, starts: v.Starts, enters: v.Enters}
			},
			spellings: []string{"compose " + e.Name, "group " + e.Name},
		})
	}
	return list
}

// composed takes the flags out of the words behind `compose` that stand before
// its command.
func composed(t *tool, rest []string) ([]string, error) {
	flags, after, err := argv.Parse(known(compose.Flags()), false, rest[1:])
	if err != nil {
		return nil, err
	}
	if t.project, err = compose.Read(flags); err != nil {
		return nil, err
	}
	return append([]string{rest[0]}, after...), nil
}

// composer is what compose's commands get of t.
func composer(t *tool) *compose.Tool {
	c := &compose.Tool{
		In: t.In, Out: t.Out, Err: t.Err, Engine: t.engine, Warn: t.warn,
		Options: func() engine.Options { return t.options },
		Streams: func(a compose.Attachment) (engine.Streams, func(), error) {
			return t.streams(attachment{a.Stdin, a.Stdout, a.Stderr, a.Terminal, a.Signals, a.Keys})
		},
		Interruptible: interruptible, Display: display, Side: side,
		OnFiles: func(c *cli.Context, ref string, do func(context.Context, *changes.Files) error) error {
			return onFiles(c, t, ref, do)
		},
		Stats: func(c *cli.Context, refs []string) error { return showStats(t, c, refs) },
		Exit:  func(code int) error { return status(code) },
		Bad: func(flags []cli.Flag, name, value string, err error) error {
			return (&verb{Command: &cli.Command{Flags: flags}, spelling: t.spelling}).badValue(name, value, err)
		},
	}
	if t.project != nil {
		c.Under(t.project)
	}
	return c
}
