package command

import (
	"fmt"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newBoot(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Start the containers whose restart policy has them started after a boot",
		Description: "One line for rc.local or an init script; there is no daemon that would do it. Containers\n" +
			"with --restart always, with unless-stopped that nobody stopped, and with on-failure that\n" +
			"ended by a failure are started, those that others need by their links, namespaces and groups\n" +
			"first. One whose group has it wait for another's health, or end, waits for that, and holds\n" +
			"up nobody else; the command ends with the last of them.\n" +
			"One that has run in this boot already is let be, so the command may be given again.",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		failed := false
		err = engine.Boot(c.Context, eng, func(name string, err error) {
			if err != nil {
				t.complain(fmt.Errorf("container %s: %w", name, err))
				failed = true
				return
			}
			fmt.Fprintln(t.Out, name)
		})
		if err == nil && failed {
			return status(1)
		}
		return err
	}
	return v
}
