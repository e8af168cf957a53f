package command

import (
	"fmt"

	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newSuperviseRemove(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:       "Stop the units of containers and take them away",
		ArgsUsage:   "CONTAINER|GROUP...",
		Description: "The containers stay, and so do the logs that the supervisor kept.",
		Flags: []cli.Flag{
			text("init", "", "`system` The init system; the one that has a unit without"), imageFlag(), forceFlag(), ofGroupsFlag(),
		},
	}
	v.Action = func(c *cli.Context) error {
		failed := false
		for _, name := range unitNames(c) {
			m, err := managerOf(t, c, name)
			if err == nil {
				err = asUnits(m.Remove(name))
			}
			if err != nil {
				t.complain(err)
				failed = true
			}
		}
		if failed {
			return status(1)
		}
		return nil
	}
	return v
}

// managerOf is that of the system that has a unit of the name.
func managerOf(t *tool, c *cli.Context, name string) (*supervise.Manager, error) {
	if system := c.String("init"); system != "" {
		return manager(t, c, system)
	}
	all, err := managers(t, c)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		units, err := m.List()
		if err != nil {
			continue
		}
		for _, u := range units {
			if u.Name == name {
				return m, nil
			}
		}
	}
	return nil, asUnits(fmt.Errorf("%w for %s is installed", supervise.ErrNotInstalled, name))
}

// managers are those of all systems that are there.
func managers(t *tool, c *cli.Context) ([]*supervise.Manager, error) {
	if system := c.String("init"); system != "" {
		m, err := manager(t, c, system)
		return []*supervise.Manager{m}, err
	}
	var all []*supervise.Manager
	for _, name := range supervise.Names() {
		if m, err := manager(t, c, name); err == nil {
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		_, err := manager(t, c, "")
		return nil, err
	}
	return all, nil
}

// unitNames are the names of the units that are meant.
func unitNames(c *cli.Context) []string {
	names := c.Args().Slice()
	if c.Bool("group") {
		for i := range names {
			names[i] = supervise.GroupPrefix + names[i]
		}
	}
	return names
}
