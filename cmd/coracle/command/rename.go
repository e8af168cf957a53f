package command

import (
	"errors"
	"fmt"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newRename(t *tool) *verb {
	v := &verb{mixed: true, min: 2, max: 2}
	v.Command = &cli.Command{Usage: "Rename a container", ArgsUsage: "CONTAINER NEW_NAME"}
	v.Action = func(c *cli.Context) error {
		from, to := c.Args().Get(0), c.Args().Get(1)
		if from == "" || to == "" {
			return errors.New("Error: Neither old nor new names may be empty")
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		if err := engine.Rename(c.Context, eng, from, to); err != nil {
			t.complain(err)
			return fmt.Errorf("failed to rename container named %s", from)
		}
		return nil
	}
	return v
}
