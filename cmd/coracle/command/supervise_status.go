package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newSuperviseStatus(t *tool) *verb {
	v := &verb{mixed: true, max: -1}
	v.Command = &cli.Command{
		Usage:     "List units of containers and how they do",
		ArgsUsage: "[CONTAINER|GROUP...]",
		Description: "With names the exit code is that of an init script's status: 0 all run, 3 one does not run,\n" +
			"4 one has no unit.",
		Flags: []cli.Flag{
			text("init", "", "`system` The init system; all that are there without"), imageFlag(), ofGroupsFlag(),
			toggle("quiet", "q", "Print nothing, the exit code tells"),
		},
	}
	v.Action = func(c *cli.Context) error { return superviseStatus(t, c) }
	return v
}

func superviseStatus(t *tool, c *cli.Context) error {
	all, err := managers(t, c)
	if err != nil {
		return err
	}
	names := unitNames(c)
	var units []supervise.Installed
	for _, m := range all {
		list, err := m.List()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return asUnits(err)
		}
		for _, u := range list {
			if u.System == "inittab" && imageRoot(c) == "" {
				// init tells nobody how its children do.
				u.Active = containerState(t, c.Context, u.Name) == "running"
			}
			if len(names) == 0 || slices.Contains(names, u.Name) {
				units = append(units, u)
			}
		}
	}
	image := imageRoot(c) != ""
	code := statusCode(names, units, image)
	if !c.Bool("quiet") {
		printStatus(t, c.Context, units, image)
		for _, n := range names {
			if !slices.ContainsFunc(units, func(u supervise.Installed) bool { return u.Name == n }) {
				t.complain(asUnits(fmt.Errorf("%w for %s is installed", supervise.ErrNotInstalled, n)))
			}
		}
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// statusCode is that of the Linux Standard Base for the status of services.
func statusCode(names []string, units []supervise.Installed, image bool) int {
	code := 0
	for _, n := range names {
		i := slices.IndexFunc(units, func(u supervise.Installed) bool { return u.Name == n })
		switch {
		case i < 0:
			return 4
		case !units[i].Active && !image:
			code = 3
		}
	}
	return code
}

func printStatus(t *tool, ctx context.Context, units []supervise.Installed, image bool) {
	w := tabwriter.NewWriter(t.Out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "CONTAINER\tINIT\tAT BOOT\tSERVICE\tCONTAINER STATE\tUNIT")
	for _, u := range units {
		service, state := "-", "-"
		if !image {
			service, state = "inactive", containerState(t, ctx, u.Name)
			if u.Active {
				service = "active"
			}
		}
		boot := "no"
		if u.Enabled {
			boot = "yes"
		}
		path := u.Path
		if !u.Intact {
			path += " (edited)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.Name, u.System, boot, service, state, path)
	}
	w.Flush()
}

// containerState is Docker's word, or "missing".
func containerState(t *tool, ctx context.Context, name string) string {
	eng, err := t.engine(ctx)
	if err != nil {
		return "unknown"
	}
	info, err := eng.Inspect(ctx, name, false)
	if err != nil {
		if group, ok := strings.CutPrefix(name, supervise.GroupPrefix); ok {
			return groupState(ctx, eng, group)
		}
		return "missing"
	}
	return string(info.State.Status)
}
