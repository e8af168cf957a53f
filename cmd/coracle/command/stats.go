package command

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/engine"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

// Between two looks at the figures: a share of the processor needs two.
const (
	statsEvery = time.Second
	statsFirst = 500 * time.Millisecond
)

func newStats(t *tool) *verb {
	v := &verb{mixed: true, max: -1}
	v.Command = &cli.Command{
		Usage:     "Display a live stream of container(s) resource usage statistics",
		ArgsUsage: "[CONTAINER...]",
		Flags: []cli.Flag{
			toggle("all", "a", "Show all containers (default shows just running)"),
			text("format", "", formatUsage),
			toggle("no-stream", "", "Disable streaming stats and only pull the first result"),
			toggle("no-trunc", "", "Do not truncate output"),
		},
	}
	v.Action = func(c *cli.Context) error { return showStats(t, c, c.Args().Slice()) }
	return v
}

func showStats(t *tool, c *cli.Context, refs []string) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	all := c.Bool("all")
	before, err := sample(c.Context, eng, refs, all, nil)
	if err != nil {
		return err
	}
	list := format.StatsList(c.String("format"))
	time.Sleep(statsFirst)
	for {
		now, err := sample(c.Context, eng, refs, all, before)
		if err != nil {
			return err
		}
		rows := make([]format.Stats, len(now))
		for i, s := range now {
			rows[i] = format.StatsRow(s.ref, &s.StatsResponse, !c.Bool("no-trunc"))
		}
		if c.Bool("no-stream") {
			return format.Write(t.Out, list, rows)
		}
		var page bytes.Buffer
		if err := format.Write(&page, list, rows); err != nil {
			return err
		}
		// Written over what stands there, with the rest of each line cleared.
		if _, err := fmt.Fprint(t.Out, "\033[H"+strings.ReplaceAll(page.String(), "\n", "\033[K\n")+"\033[J"); err != nil {
			return err
		}
		before = now
		time.Sleep(statsEvery)
	}
}

// sampled are one container's figures; ref is how it was named.
type sampled struct {
	ref string
	container.StatsResponse
}

// sample reads the figures of those named, or of all that run (or are).
func sample(ctx context.Context, eng *engine.Engine, refs []string, all bool, before []sampled) ([]sampled, error) {
	named := len(refs) > 0
	if !named {
		found, err := eng.List(ctx, engine.ListOptions{All: all})
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			refs = append(refs, s.ID)
		}
	}
	var out []sampled
	for _, ref := range refs {
		var last *container.StatsResponse
		for i := range before {
			if before[i].ref == ref {
				last = &before[i].StatsResponse
			}
		}
		s, err := engine.Stats(ctx, eng, ref, last)
		if err != nil {
			if !named || before != nil {
				continue // gone meanwhile
			}
			return nil, err
		}
		out = append(out, sampled{ref, s})
	}
	return out, nil
}
