package command

import (
	"context"
	"os"
	"slices"
	"strings"

	"coracle/cmd/coracle/argv"
	"coracle/cmd/coracle/compose"
	"coracle/engine"
	"coracle/engine/changes"

	"github.com/moby/moby/api/types/volume"
	"github.com/urfave/cli/v2"
)

// composeVerbs are docker compose's commands, below both words.
func composeVerbs() []entry {
	var list []entry
	scripted := compose.Scripted()
	for _, e := range compose.Verbs() {
		spellings := []string{"compose " + e.Name}
		// `group export` is another one than `compose export`.
		if !slices.ContainsFunc(scripted, func(s compose.Entry) bool { return s.Name == e.Name }) {
			spellings = append(spellings, "group "+e.Name)
		}
		list = append(list, entry{make: adapt(e), spellings: spellings})
	}
	for _, e := range scripted {
		list = append(list, entry{make: adapt(e), spellings: []string{"group " + e.Name}})
	}
	return list
}

// ComposeFlags are those before compose's command.
func ComposeFlags() []FlagDoc { return describeAll(compose.Flags()) }

// adapt makes a command of ours of one of compose's.
func adapt(e compose.Entry) func(t *tool) *verb {
	return func(t *tool) *verb {
		v := e.Make(composer(t))
		return &verb{Command: v.Command, mixed: v.Mixed, min: v.Min, max: v.Max, starts: v.Starts, enters: v.Enters}
	}
}

// composed takes the flags out of the words behind `compose` that stand before
// its command.
func composed(t *tool, globals, rest []string) ([]string, error) {
	flags, after, err := argv.Parse(known(compose.Flags()), false, rest[1:])
	if err != nil {
		return nil, err
	}
	if t.project, err = compose.Read(flags); err != nil {
		return nil, err
	}
	if t.project.ForPrograms() {
		t.warner = func(line string) { compose.WriteWarning(t.Err, line) }
	}
	if rest[0] == "group" {
		o := engine.Options{Root: os.Getenv("CORACLE_ROOT")}
		for _, g := range globals {
			if root, ok := strings.CutPrefix(g, "--root="); ok {
				o.Root = root
			}
		}
		if root, _, err := engine.Places(o); err == nil {
			after = t.project.Named(root, after)
		}
	}
	return append([]string{rest[0]}, after...), nil
}

// composer is what compose's commands get of t.
func composer(t *tool) *compose.Tool {
	c := &compose.Tool{
		In: t.In, Out: t.Out, Err: t.Err, Engine: t.engine, Warn: t.warn,
		Options: func() engine.Options { return t.options },
		Streams: func(a compose.Attachment) (engine.Streams, func(), error) {
			return t.streams(attachment{a.Stdin, a.Stdout, a.Stderr, a.Terminal, proxied(a.Signals), a.Keys})
		},
		Scripting:     strings.HasPrefix(t.spelling, "group "),
		Interruptible: interruptible, Display: display, Side: side,
		OnFiles: func(c *cli.Context, ref string, do func(context.Context, *changes.Files) error) error {
			return onFiles(c, t, ref, do)
		},
		Stats:   func(c *cli.Context, refs []string) error { return showStats(t, c, refs) },
		Commit:  func(c *cli.Context, ref, image string) (string, error) { return commit(c, t, ref, image) },
		Export:  func(c *cli.Context, ref string) error { return export(c, t, ref) },
		Volumes: func(c *cli.Context, list []*volume.Volume) error { return showVolumes(t, c, list) },
		Exit:    func(code int) error { return status(code) },
		Bad: func(flags []cli.Flag, name, value string, err error) error {
			return (&verb{Command: &cli.Command{Flags: flags}, spelling: t.spelling}).badValue(name, value, err)
		},
	}
	if t.project != nil {
		c.Under(t.project)
	}
	return c
}

func groupFlag() cli.Flag {
	return text("group", "", "`name` Make the container a service of a group that 'coracle group create' made")
}

// joinGroup makes a container that is to be made a member of its --group.
func joinGroup(c *cli.Context, o *engine.CreateOptions) error {
	name := c.String("group")
	if name == "" {
		return nil
	}
	root, _, err := engine.Places(engine.Options{Root: c.String("root")})
	if err != nil {
		return err
	}
	return compose.Join(name, o.Name, o.Config, o.Host, root)
}
