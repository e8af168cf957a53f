package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/volume"
	"github.com/urfave/cli/v2"
)

func newVolumeCreate(t *tool) *verb {
	driver := text("driver", "d", "Specify volume driver name")
	driver.Value = "local"
	name := text("name", "", "Specify volume name")
	name.Hidden = true
	v := &verb{mixed: true, max: 1}
	v.Command = &cli.Command{
		Usage:     "Create a volume",
		ArgsUsage: "[VOLUME]",
		Flags: []cli.Flag{
			driver, name,
			list("label", "", "Set metadata for a volume"),
			list("opt", "o", "`map` Set driver specific options"),
		},
	}
	v.Action = func(c *cli.Context) error {
		r := volume.CreateRequest{
			Name: c.Args().First(), Driver: c.String("driver"), DriverOpts: opts.Map(c.StringSlice("opt")),
		}
		if n := c.String("name"); n != "" {
			if r.Name != "" {
				return errors.New("conflicting options: either specify --name or provide positional arg, not both")
			}
			r.Name = n
		}
		var err error
		if r.Labels, err = opts.Labels(nil, c.StringSlice("label")); err != nil {
			return v.badValue("label", strings.Join(c.StringSlice("label"), ","), err)
		}
		if len(r.Labels) == 0 {
			r.Labels = nil
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		made, err := engine.VolumeCreate(eng, r)
		if err == nil {
			fmt.Fprintln(t.Out, made.Name)
		}
		return err
	}
	return v
}

func newVolumeRm(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Remove one or more volumes",
		ArgsUsage: "VOLUME [VOLUME...]",
		Flags:     []cli.Flag{toggle("force", "f", "Force the removal of one or more volumes")},
	}
	v.Action = func(c *cli.Context) error {
		return t.each(c, func(ctx context.Context, e *engine.Engine, name string) error {
			return engine.VolumeRemove(ctx, e, name, c.Bool("force"))
		})
	}
	return v
}

func newVolumePrune(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Remove unused local volumes",
		Flags: []cli.Flag{
			toggle("all", "a", "Remove all unused volumes, not just anonymous ones"),
			list("filter", "", `Provide filter values (e.g. "label=<label>")`),
			toggle("force", "f", "Do not prompt for confirmation"),
		},
	}
	v.Action = func(c *cli.Context) error { return volumePrune(t, c, v) }
	return v
}

func volumePrune(t *tool, c *cli.Context, v *verb) error {
	filters, err := v.filters(c)
	if err != nil {
		return err
	}
	what := "anonymous"
	if c.Bool("all") {
		if len(filters["all"]) > 0 {
			return errors.New("conflicting options: cannot specify both --all and --filter all=1")
		}
		what, filters["all"] = "all", []string{"true"}
	}
	if !c.Bool("force") && !confirmed(t.In, t.Out, "This will remove "+what+" local volumes not used by at least one container.") {
		return nil
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	r, err := engine.VolumePrune(c.Context, eng, filters)
	if err != nil {
		return err
	}
	if len(r.VolumesDeleted) > 0 {
		fmt.Fprintf(t.Out, "Deleted Volumes:\n%s\n\n", strings.Join(r.VolumesDeleted, "\n"))
	}
	fmt.Fprintln(t.Out, "Total reclaimed space:", units.HumanSize(float64(r.SpaceReclaimed)))
	return nil
}

// confirmed asks before something is deleted. What is no answer is a no.
func confirmed(in io.Reader, out io.Writer, warning string) bool {
	fmt.Fprintf(out, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	line, _ := bufio.NewReader(in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}
