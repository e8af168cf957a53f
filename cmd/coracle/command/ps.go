package command

import (
	"fmt"
	"strings"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/urfave/cli/v2"
)

const formatUsage = `Format output: 'table', 'table TEMPLATE', 'json' or a Go template`

func newPs(t *tool) *verb {
	last := number("last", "n", "Show n last created containers (includes all states)")
	last.Value = -1
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "List containers",
		Flags: []cli.Flag{
			toggle("all", "a", "Show all containers (default shows just running)"),
			list("filter", "f", "`filter` Filter output based on conditions provided"),
			text("format", "", formatUsage),
			last,
			toggle("latest", "l", "Show the latest created container (includes all states)"),
			toggle("no-trunc", "", "Don't truncate output"),
			toggle("quiet", "q", "Only display container IDs"),
			toggle("size", "s", "Display total file sizes"),
		},
	}
	v.Action = func(c *cli.Context) error { return t.ps(c, v) }
	return v
}

func (t *tool) ps(c *cli.Context, v *verb) error {
	filters, err := v.filters(c)
	if err != nil {
		return err
	}
	if c.Bool("quiet") && c.IsSet("format") {
		fmt.Fprintln(t.Err, "WARNING: Ignoring custom format, because both --format and --quiet are set.")
	}
	text := listFormat(c.String("format"), "psFormat", c.Bool("quiet"))
	o := engine.ListOptions{
		All: c.Bool("all"), Filters: filters, Last: max(c.Int("last"), 0),
		Size: c.Bool("size") || strings.Contains(text, ".Size"),
	}
	if c.Bool("latest") {
		o.Last = 1
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	found, err := eng.List(c.Context, o)
	if err != nil {
		return err
	}
	now := time.Now()
	rows := make([]format.Container, len(found))
	for i, s := range found {
		rows[i] = format.ContainerRow(s, !c.Bool("no-trunc"), now)
	}
	return format.Write(t.Out, format.Containers(text, c.Bool("quiet"), c.Bool("size")), rows)
}

func (v *verb) filters(c *cli.Context) (map[string][]string, error) {
	m := map[string][]string{}
	for _, f := range c.StringSlice("filter") {
		if err := opts.Filter(m, f); err != nil {
			return nil, v.badValue("filter", f, err)
		}
	}
	return m, nil
}
