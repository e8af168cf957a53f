package command

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newTop(t *tool) *verb {
	v := &verb{min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:     "Display the running processes of a container",
		ArgsUsage: "CONTAINER [ps OPTIONS]",
		Description: "-ef (the default), aux and -o with the usual columns need no ps on this machine; other\n" +
			"options are its ps's.",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		list, err := engine.Top(c.Context, eng, c.Args().First(), c.Args().Tail())
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(t.Out, 20, 1, 3, ' ', 0)
		fmt.Fprintln(w, strings.Join(list.Titles, "\t"))
		for _, p := range list.Processes {
			fmt.Fprintln(w, strings.Join(p, "\t"))
		}
		return w.Flush()
	}
	return v
}
