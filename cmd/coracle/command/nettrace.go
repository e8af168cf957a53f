package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newNetTrace(t *tool) *verb {
	v := &verb{mixed: true, min: 3, max: 3}
	v.Command = &cli.Command{
		Usage:     "Explain whether one container can reach a port of another",
		ArgsUsage: "CONTAINER CONTAINER PORT[/PROTO]",
		Description: "Looks step by step: do both run, on which network they are, by which name and\n" +
			"address the second is found, whether the first has a route there, what forbids it,\n" +
			"who listens; and then tries it. The exit code is 1 where something is in the way.",
		Flags: []cli.Flag{toggle("json", "", "Print the steps as JSON")},
	}
	v.Action = func(c *cli.Context) error {
		port, proto, ok := strings.Cut(c.Args().Get(2), "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok {
			proto = "tcp"
		}
		if err != nil || n == 0 || proto != "tcp" && proto != "udp" {
			return fmt.Errorf("invalid port %q: a number from 1 to 65535, with /tcp or /udp", c.Args().Get(2))
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		from, err := eng.Inspect(c.Context, c.Args().Get(0), false)
		if err != nil {
			return err
		}
		to, err := eng.Inspect(c.Context, c.Args().Get(1), false)
		if err != nil {
			return err
		}
		steps, reached := engine.NetworksOf(eng).Trace(c.Context, from, to, proto, uint16(n))
		if c.Bool("json") {
			enc := json.NewEncoder(t.Out)
			enc.SetIndent("", "    ")
			err = enc.Encode(steps)
		} else {
			for _, s := range steps {
				fmt.Fprintln(t.Out, s)
			}
		}
		if err != nil {
			return err
		}
		if !reached {
			return status(1)
		}
		return nil
	}
	return v
}
