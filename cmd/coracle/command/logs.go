package command

import (
	"fmt"
	"strconv"
	"time"

	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newLogs(t *tool) *verb {
	tail := text("tail", "n", "Number of lines to show from the end of the logs")
	tail.Value = "all"
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Fetch the logs of a container",
		ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			toggle("details", "", "Show extra details provided to logs"),
			toggle("follow", "f", "Follow log output"),
			text("since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`),
			tail,
			toggle("timestamps", "t", "Show timestamps"),
			text("until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`),
		},
	}
	v.Action = func(c *cli.Context) error { return t.logs(c, v) }
	return v
}

func (t *tool) logs(c *cli.Context, v *verb) error {
	o := engine.LogOptions{Follow: c.Bool("follow"), Timestamps: c.Bool("timestamps"), Details: c.Bool("details"), Tail: -1}
	if tail := c.String("tail"); tail != "all" {
		// What is no number is all, as to Docker.
		if n, err := strconv.Atoi(tail); err == nil {
			o.Tail = max(n, -1)
		}
	}
	now := time.Now()
	var err error
	if o.Since, err = opts.When(c.String("since"), now); err != nil {
		return fmt.Errorf(`invalid value for "since": %w`, err)
	}
	if o.Until, err = opts.When(c.String("until"), now); err != nil {
		return fmt.Errorf(`invalid value for "until": %w`, err)
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	return eng.Logs(c.Context, c.Args().First(), o, t.Out, t.Err)
}
