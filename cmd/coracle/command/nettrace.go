package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"coracle/engine"
	"coracle/engine/trace"

	dnetwork "github.com/moby/moby/api/types/network"
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
		q := &trace.Query{Proto: proto, Port: uint16(n), Network: func(name string) (*dnetwork.Inspect, error) {
			return engine.NetworksOf(eng).Inspect(c.Context, name)
		}}
		if q.From, err = eng.Inspect(c.Context, c.Args().Get(0), false); err != nil {
			return err
		}
		if q.To, err = eng.Inspect(c.Context, c.Args().Get(1), false); err != nil {
			return err
		}
		steps, reached := trace.Run(c.Context, q)
		if err := t.printSteps(steps, c.Bool("json")); err != nil {
			return err
		}
		if !reached {
			return status(1)
		}
		return nil
	}
	return v
}

func (t *tool) printSteps(steps []trace.Step, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(t.Out)
		enc.SetIndent("", "    ")
		return enc.Encode(steps)
	}
	for _, s := range steps {
		fmt.Fprintf(t.Out, "%-3s %-9s %s\n", s.Verdict, s.Step, s.Text)
		if s.Mend != "" {
			fmt.Fprintf(t.Out, "%-14shint: %s\n", "", s.Mend)
		}
	}
	return nil
}
