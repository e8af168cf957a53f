package command

import (
	"slices"

	"coracle/cmd/coracle/format"
	"coracle/engine"

	"github.com/moby/moby/api/types/volume"
	"github.com/urfave/cli/v2"
)

func newVolumeLs(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "List volumes",
		Flags: []cli.Flag{
			list("filter", "f", "`filter` Provide filter values (e.g. \"dangling=true\")"),
			text("format", "", formatUsage),
			toggle("quiet", "q", "Only display volume names"),
		},
	}
	v.Action = func(c *cli.Context) error {
		filters, err := v.filters(c)
		if err != nil {
			return err
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		list, err := engine.VolumeList(c.Context, eng, filters)
		if err != nil {
			return err
		}
		return showVolumes(t, c, list)
	}
	return v
}

// showVolumes lists volumes as the flags of c say.
func showVolumes(t *tool, c *cli.Context, list []*volume.Volume) error {
	rows := make([]format.Volume, len(list))
	for i, one := range list {
		rows[i] = format.VolumeRow(one)
	}
	slices.SortStableFunc(rows, func(a, b format.Volume) int { return format.Natural(a.Name, b.Name) })
	return format.Write(t.Out, format.Volumes(listFormat(c.String("format"), "volumesFormat", c.Bool("quiet")), c.Bool("quiet")), rows)
}

func newVolumeInspect(t *tool) *verb {
	return t.inspectVerb("volume", "Display detailed information on one or more volumes", "VOLUME [VOLUME...]",
		text("format", "f", "Format output: 'json' or a Go template"))
}
