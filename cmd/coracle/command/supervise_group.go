package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"coracle/cmd/coracle/compose"
	"coracle/engine"
	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func ofGroupsFlag() cli.Flag {
	return toggle("group", "", "The names are those of groups (Compose projects), whose containers are there")
}

// groupUnits are the units of groups: one each, or one of each container.
func groupUnits(t *tool, c *cli.Context, eng *engine.Engine, o supervise.Options) ([]*supervise.Unit, error) {
	var all []*supervise.Unit
	for _, name := range c.Args().Slice() {
		men, err := compose.Crew(c.Context, eng, name)
		if err != nil {
			return nil, err
		}
		if !c.Bool("services") {
			u, err := supervise.OfGroup(name, men, o)
			if err != nil {
				return nil, err
			}
			all = append(all, u)
			continue
		}
		units, warnings, err := supervise.OfServices(men, o)
		if err != nil {
			return nil, err
		}
		for _, w := range warnings {
			t.warn(w)
		}
		all = append(all, units...)
	}
	return all, nil
}

// superviseGroup runs a group's containers, each in the foreground of a process
// of its own below this one.
func superviseGroup(t *tool, c *cli.Context, v *verb) error {
	h, err := supervise.NewHerald(c.String("ready"), c.Int("notify-fd"))
	if err != nil {
		return usage(v.spelling, err)
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	name := c.Args().First()
	men, err := compose.Crew(c.Context, eng, name)
	if err != nil {
		return err
	}
	crew, err := supervise.NewCrew(men, h, supervise.CrewOptions{
		Globals: placeArgs(&t.options), NoLog: c.Bool("no-log"),
		Output: compose.CrewOutput(t.Out, name, men),
		Ended:  func(name string, code int) { fmt.Fprintf(t.Err, "%s exited with code %d\n", name, code) },
	})
	if err != nil {
		return err
	}
	signals, stop := forward(proxied(true), false, nil)
	defer stop()
	code, err := crew.Run(signals)
	h.Ended(code)
	return ended(code, err)
}

// groupState is how many of a group's containers are in which state.
func groupState(ctx context.Context, eng *engine.Engine, name string) string {
	men, err := compose.Crew(ctx, eng, name)
	if err != nil {
		return "missing"
	}
	count := map[string]int{}
	for _, m := range men {
		count[string(m.State.Status)]++
	}
	var states []string
	for _, s := range slices.Sorted(maps.Keys(count)) {
		states = append(states, fmt.Sprintf("%s(%d)", s, count[s]))
	}
	return strings.Join(states, ", ")
}
