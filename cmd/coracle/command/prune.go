package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/engine/upkeep"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"
)

func newImagePrune(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Remove unused images",
		Flags: []cli.Flag{
			toggle("all", "a", "Remove all unused images, not just dangling ones"),
			list("filter", "", `Provide filter values (e.g. "until=<timestamp>")`),
			toggle("force", "f", "Do not prompt for confirmation"),
		},
	}
	v.Action = func(c *cli.Context) error {
		want, err := v.filters(c)
		if err != nil {
			return err
		}
		all := c.Bool("all")
		for _, d := range want["dangling"] {
			all = all || d == "false" || d == "0"
		}
		delete(want, "dangling")
		what := "all dangling images."
		if all {
			what = "all images without at least one container associated to them."
		}
		f, err := upkeep.NewFilter(want, since)
		if err != nil || !sure(t, c, "WARNING! This will remove "+what) {
			return err
		}
		return prune(t, c, step{"Deleted Images:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
			return upkeep.Images(ctx, e, f, all)
		}})
	}
	return v
}

// pruneFlags are those of every prune that goes by age.
func pruneFlags() []cli.Flag {
	return []cli.Flag{
		list("filter", "", `Provide filter values (e.g. "until=<timestamp>")`),
		toggle("force", "f", "Do not prompt for confirmation"),
	}
}

func newContainerPrune(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Remove all stopped containers",
		Flags: pruneFlags(),
	}
	v.Action = func(c *cli.Context) error {
		want, err := v.filters(c)
		if err != nil {
			return err
		}
		f, err := upkeep.NewFilter(want, since)
		if err != nil || !sure(t, c, "WARNING! This will remove all stopped containers.") {
			return err
		}
		return prune(t, c, step{"Deleted Containers:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
			return upkeep.Containers(ctx, e, f)
		}})
	}
	return v
}

func newSystemPrune(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage:       "Remove unused data",
		Description: "Downloads that were broken off, and unpacked layers that no image has any more, go with it.",
		Flags: []cli.Flag{
			toggle("all", "a", "Remove all unused images not just dangling ones"),
			list("filter", "", `Provide filter values (e.g. "label=<key>=<value>")`),
			toggle("force", "f", "Do not prompt for confirmation"),
			toggle("volumes", "", "Prune anonymous volumes"),
		},
	}
	v.Action = func(c *cli.Context) error { return systemPrune(t, c, v) }
	return v
}

func systemPrune(t *tool, c *cli.Context, v *verb) error {
	want, err := v.filters(c)
	if err != nil {
		return err
	}
	all, volumes := c.Bool("all"), c.Bool("volumes")
	if volumes && want["until"] != nil {
		return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
	}
	f, err := upkeep.NewFilter(want, since)
	if err != nil || !sure(t, c, systemWarning(all, volumes, c.StringSlice("filter"))) {
		return err
	}
	steps := []step{
		{"Deleted Containers:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
			return upkeep.Containers(ctx, e, f)
		}},
		{"Deleted Networks:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
			return upkeep.Networks(ctx, e, f)
		}},
	}
	if volumes {
		steps = append(steps, step{"Deleted Volumes:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
			return upkeep.Volumes(ctx, e, f)
		}})
	}
	steps = append(steps, step{"Deleted Images:", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
		return upkeep.Images(ctx, e, f, all)
	}}, step{"", func(ctx context.Context, e *engine.Engine) (upkeep.Pruned, error) {
		if len(want) > 0 {
			return upkeep.Pruned{}, nil // of what has neither a label nor an age of its own
		}
		freed, err := upkeep.Rest(ctx, e)
		return upkeep.Pruned{Freed: freed}, err
	}})
	return prune(t, c, steps...)
}

func systemWarning(all, volumes bool, filters []string) string {
	lines := []string{"WARNING! This will remove:", "  - all stopped containers", "  - all networks not used by at least one container"}
	if volumes {
		lines = append(lines, "  - all anonymous volumes not used by at least one container")
	}
	if all {
		lines = append(lines, "  - all images without at least one container associated to them")
	} else {
		lines = append(lines, "  - all dangling images")
	}
	lines = append(lines, "  - unused build cache (here: downloads that were broken off, and layers without an image)", "")
	if len(filters) > 0 {
		lines = append(lines, "  Items to be pruned will be filtered with:")
		for _, f := range slices.Sorted(slices.Values(filters)) {
			lines = append(lines, "  - "+f)
		}
		lines = append(lines, "")
	}
	return strings.Join(lines, "\n")
}

// since reads what a filter says of a time.
func since(s string) (time.Time, error) { return opts.When(s, time.Now()) }

// sure asks, unless it was said that it need not be. Docker takes any other answer
// for a no, which is no failure.
func sure(t *tool, c *cli.Context, warning string) bool {
	if c.Bool("force") {
		return true
	}
	fmt.Fprintf(t.Out, "%s\nAre you sure you want to continue? [y/N] ", warning)
	if t.In == nil {
		return false
	}
	line, err := bufio.NewReader(t.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

// step is one kind of thing that goes.
type step struct {
	title string // "": nothing is listed
	do    func(context.Context, *engine.Engine) (upkeep.Pruned, error)
}

// prune does the steps, whatever fails on the way, and sums up.
func prune(t *tool, c *cli.Context, steps ...step) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	var freed int64
	var failed []error
	for _, s := range steps {
		out, err := s.do(ctx, eng)
		freed += out.Freed
		if err != nil {
			failed = append(failed, err)
		}
		if len(out.Lines) > 0 && s.title != "" {
			fmt.Fprintf(t.Out, "%s\n%s\n\n", s.title, strings.Join(out.Lines, "\n"))
		}
	}
	fmt.Fprintln(t.Out, "Total reclaimed space:", units.HumanSize(float64(freed)))
	return errors.Join(failed...)
}
