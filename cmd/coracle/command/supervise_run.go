package command

import (
	"context"
	"errors"
	"fmt"

	"coracle/engine"
	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newSuperviseRun(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1, starts: true, enters: true}
	fd := number("notify-fd", "", "`descriptor` Write a line to it when ready, as s6 wants it")
	fd.Value = -1
	v.Command = &cli.Command{
		Usage:     "Run an existing container in the foreground, as a supervisor's child",
		ArgsUsage: "CONTAINER|GROUP",
		Description: "What the units of 'supervise generate' call. SIGTERM and SIGINT stop the container with its own stop\n" +
			"signal, and SIGKILL after its stop timeout; other signals are passed on. The exit code is the\n" +
			"container's. If this process is killed, the container dies with it. What NOTIFY_SOCKET names is\n" +
			"told when the container is ready, and WATCHDOG_USEC is heeded. With --group it is the parent of one\n" +
			"such process for each container: they start when what they depend on is as they want it, and stop\n" +
			"in reverse.",
		Flags: []cli.Flag{
			readyFlag(), fd, ofGroupsFlag(),
			toggle("no-log", "", "Do not keep a log: who reads the output does"),
			toggle("restart", "", "Heed the container's restart policy, for a system that does not start it again"),
			toggle("background", "", "Return when the container is ready; it is a service of its own then"),
			text("pidfile", "", "`file` With --background: takes the process ID of the service"),
			text("log", "", "`file` With --background: what the container writes is appended to it"),
		},
	}
	v.Action = func(c *cli.Context) error {
		if c.Bool("background") {
			return superviseBehind(t, c)
		}
		if c.IsSet("pidfile") || c.IsSet("log") {
			return usage(v.spelling, errors.New("--pidfile and --log go with --background"))
		}
		if c.Bool("group") {
			return superviseGroup(t, c, v)
		}
		return superviseHere(t, c, v)
	}
	return v
}

// readyFlag says when a container is ready.
func readyFlag() cli.Flag {
	return text("ready", "", `When to tell the supervisor that the container is ready: "running" (default), "healthy", or "container" (the program says so at the NOTIFY_SOCKET that it is given)`)
}

func superviseHere(t *tool, c *cli.Context, v *verb) error {
	h, err := supervise.NewHerald(c.String("ready"), c.Int("notify-fd"))
	if err != nil {
		return usage(v.spelling, err)
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	ref := c.Args().First()
	if err := heralded(c.Context, eng, ref, h); err != nil {
		return err
	}
	s, restore, err := t.streams(attachment{stdout: true, stderr: true, signals: proxied(true)})
	if err != nil {
		return err
	}
	defer restore()
	code, err := engine.Foreground(c.Context, eng, ref, engine.Attended{
		Streams: s, Stops: true, NoLog: c.Bool("no-log"), NoRestart: !c.Bool("restart"), Amend: h.Amend, Started: h.Started, Health: h.Health,
	})
	h.Ended(code)
	return ended(code, err)
}

// heralded refuses to wait for what will never be said.
func heralded(ctx context.Context, eng *engine.Engine, ref string, h *supervise.Herald) error {
	if h.When != supervise.Healthy {
		return nil
	}
	info, err := eng.Inspect(ctx, ref, false)
	if err != nil {
		return err
	}
	if check := info.Config.Healthcheck; check == nil || len(check.Test) == 0 || check.Test[0] == "NONE" {
		return fmt.Errorf("container %s has no health check: it can be ready when it runs, but never healthy", ref)
	}
	return nil
}

// superviseBehind starts the same command again, without a terminal.
func superviseBehind(t *tool, c *cli.Context) error {
	args := append(placeArgs(&t.options), "supervise", "run", fmt.Sprintf("--notify-fd=%d", supervise.BackgroundFD))
	if r := c.String("ready"); r != "" {
		args = append(args, "--ready="+r)
	}
	for _, name := range []string{"no-log", "restart", "group"} {
		if c.Bool(name) {
			args = append(args, "--"+name)
		}
	}
	err := supervise.StartBackground(supervise.Background{
		Args: append(args, c.Args().First()), PIDFile: c.String("pidfile"), Log: c.String("log"),
	})
	var failed *supervise.FailedError
	if errors.As(err, &failed) {
		fmt.Fprintln(t.Err, failed)
		if failed.Code == 0 {
			return status(1)
		}
		return status(failed.Code)
	}
	return err
}

// placeArgs are the options that name our places, for a command line of ours
// that is run later, in another environment.
func placeArgs(o *engine.Options) []string {
	var args []string
	if o.Root != "" {
		args = append(args, "--root="+o.Root)
	}
	if o.Run != "" {
		args = append(args, "--run="+o.Run)
	}
	if o.Strict {
		args = append(args, "--strict")
	}
	return args
}
