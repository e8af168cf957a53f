package command

import (
	"time"

	"coracle/cmd/coracle/format"

	"github.com/urfave/cli/v2"
)

func newHistory(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:       "Show the history of an image",
		ArgsUsage:   "IMAGE",
		Description: "Sizes are those of the layers as they are kept, which may be compressed.",
		Flags: []cli.Flag{
			text("format", "", formatUsage),
			&cli.BoolFlag{Name: "human", Aliases: []string{"H"}, Value: true, Usage: "Print sizes and dates in human readable format"},
			toggle("no-trunc", "", "Don't truncate output"),
			text("platform", "", "Show history for the given platform. Formatted as os[/arch[/variant]]"),
			toggle("quiet", "q", "Only show image IDs"),
		},
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		img, err := eng.Images().Get(c.Context, c.Args().First(), c.String("platform"))
		if err != nil {
			return err
		}
		rows := format.HistoryRows(img, !c.Bool("no-trunc"), c.Bool("human"), time.Now())
		return format.Write(t.Out, format.HistoryList(c.String("format"), c.Bool("quiet")), rows)
	}
	return v
}
