package command

import (
	"errors"
	"fmt"
	"os"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func newRun(t *tool) *verb {
	v := &verb{min: 1, max: -1, starts: true, enters: true}
	v.Command = &cli.Command{
		Usage:     "Create and run a new container from an image",
		ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Description: "In the foreground the container's first process is coracle's own child: signals are\n" +
			"passed on to it, and its exit code is coracle's. With -it at a terminal it can be\n" +
			"left by the keys (ctrl-p ctrl-q) and is another process's child. The image box is\n" +
			"always there.",
		Flags: append(containerFlags(),
			toggle("detach", "d", "Run container in background and print container ID"),
			detachKeysFlag(), sigProxyFlag(), readyFlag(),
		),
	}
	v.Action = func(c *cli.Context) error { return t.runContainer(c, v) }
	return v
}

func newCreate(t *tool) *verb {
	v := &verb{min: 1, max: -1, starts: true}
	v.Command = &cli.Command{
		Usage:     "Create a new container",
		ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags:     containerFlags(),
	}
	v.Action = func(c *cli.Context) error {
		o, err := createOptions(c, v)
		if err != nil {
			return err
		}
		id, _, err := t.create(c, o)
		if err != nil {
			return coded{err, 1} // as Docker's, unlike run's
		}
		fmt.Fprintln(t.Out, id)
		return nil
	}
	return v
}

func sigProxyFlag() cli.Flag {
	f := toggle("sig-proxy", "", "Proxy received signals to the process")
	f.Value = true
	return f
}

func (t *tool) runContainer(c *cli.Context, v *verb) error {
	o, err := createOptions(c, v)
	if err != nil {
		return err
	}
	detach := c.Bool("detach")
	if detach {
		if len(c.StringSlice("attach")) > 0 {
			return &usageError{t.spelling, errors.New("conflicting options: cannot specify both --attach and --detach"), 1}
		}
		o.Config.AttachStdin, o.Config.AttachStdout, o.Config.AttachStderr = false, false, false
		o.Config.StdinOnce = false
	} else if err := t.checkTerminal(o.Config.AttachStdin, o.Config.Tty); err != nil {
		return err
	}
	keys, err := v.detachKeys(c)
	if err != nil {
		return err
	}
	h, err := runHerald(t, c, v, &o)
	if err != nil {
		return err
	}
	id, eng, err := t.create(c, o)
	if err != nil {
		return err
	}
	if detach {
		if err := eng.Start(c.Context, id); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, id)
		return nil
	}
	s, restore, err := t.streams(attachment{
		stdin: o.Config.AttachStdin, stdout: o.Config.AttachStdout, stderr: o.Config.AttachStderr,
		terminal: o.Config.Tty, signals: proxied(c.Bool("sig-proxy")), keys: keys,
	})
	if err != nil {
		return err
	}
	defer restore()
	if h == nil {
		code, err := eng.Run(c.Context, id, s)
		return ended(code, err)
	}
	if c.IsSet("detach-keys") {
		t.warn("--detach-keys: a supervisor watches, and coracle stays")
	}
	if err := heralded(c.Context, eng, id, h); err != nil {
		return err
	}
	code, err := engine.Foreground(c.Context, eng, id, engine.Attended{Streams: s, Pipe: true, Amend: h.Amend, Started: h.Started, Health: h.Health})
	h.Ended(code)
	return ended(code, err)
}

// runHerald tells a supervisor of a run in the foreground, if there is one that
// listens; it is nil otherwise. While an image is pulled it asks for more time.
func runHerald(t *tool, c *cli.Context, v *verb, o *engine.CreateOptions) (*supervise.Herald, error) {
	asked := c.String("ready") != ""
	if c.Bool("detach") || !asked && os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, nil
	}
	h, err := supervise.NewHerald(c.String("ready"), -1)
	switch {
	case err != nil && asked:
		return nil, usage(v.spelling, err)
	case err != nil:
		t.warn(err.Error())
		return nil, nil
	}
	more := h.Socket.Extend("pulling " + o.Config.Image)
	o.Pulling = func(engine.PullEvent) { more() }
	return h, nil
}

// ended is a container's end as an error: its exit code, or why there is none.
func ended(code int, err error) error {
	if err != nil {
		return err
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// create makes the container and writes its ID to the --cidfile.
func (t *tool) create(c *cli.Context, o engine.CreateOptions) (string, *engine.Engine, error) {
	cid, err := newIDFile(c.String("cidfile"))
	if err != nil {
		return "", nil, err
	}
	defer cid.close()
	eng, err := t.engine(c.Context)
	if err != nil {
		return "", nil, err
	}
	// Nothing but the container's ID goes to the output.
	show, done := display(t.Err, c.Bool("quiet"))
	told := o.Pulling
	o.Pulling = func(e engine.PullEvent) {
		for _, tell := range []func(engine.PullEvent){show, told} {
			if tell != nil {
				tell(e)
			}
		}
	}
	id, warnings, err := eng.Create(c.Context, o)
	done()
	if c.IsSet("kernel-memory") {
		// Docker takes it and does nothing with it since API 1.42.
		warnings = append(warnings, "--kernel-memory is ignored: Linux deprecated this limit")
	}
	for _, w := range warnings {
		t.warn(w)
	}
	if err != nil {
		return "", nil, err
	}
	return id, eng, cid.write(id)
}

func detachKeysFlag() cli.Flag {
	return text("detach-keys", "", "Override the key sequence for detaching a container")
}

// detachKeys are those of the flag, the user's configuration or Docker's.
func (v *verb) detachKeys(c *cli.Context) ([]byte, error) {
	value := c.String("detach-keys")
	if value == "" {
		value = configured("detachKeys")
	}
	if value == "" {
		return opts.DetachKeys(), nil
	}
	keys, err := opts.Keys(value)
	if err != nil {
		return nil, v.badValue("detach-keys", value, err)
	}
	return keys, nil
}
