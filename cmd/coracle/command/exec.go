package command

import (
	"errors"
	"path"

	"coracle/engine"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

func newExec(t *tool) *verb {
	v := &verb{min: 2, max: -1, enters: true}
	v.Command = &cli.Command{
		Usage:     "Execute a command in a running container",
		ArgsUsage: "CONTAINER COMMAND [ARG...]",
		Flags: []cli.Flag{
			toggle("detach", "d", "Detached mode: run command in the background"),
			detachKeysFlag(),
			list("env", "e", "Set environment variables"),
			list("env-file", "", "Read in a file of environment variables"),
			toggle("interactive", "i", "Keep STDIN open even if not attached"),
			toggle("privileged", "", "Give extended privileges to the command"),
			toggle("tty", "t", "Allocate a pseudo-TTY"),
			text("user", "u", `Username or UID (format: "<name|uid>[:<group|gid>]")`),
			text("workdir", "w", "Working directory inside the container"),
		},
	}
	v.Action = func(c *cli.Context) error { return t.exec(c, v) }
	return v
}

func (t *tool) exec(c *cli.Context, v *verb) error {
	detach := c.Bool("detach")
	req := container.ExecCreateRequest{
		User: c.String("user"), WorkingDir: c.String("workdir"), Privileged: c.Bool("privileged"),
		Tty: c.Bool("tty"), Cmd: c.Args().Tail(), DetachKeys: c.String("detach-keys"),
		AttachStdin: c.Bool("interactive") && !detach, AttachStdout: !detach, AttachStderr: !detach,
	}
	var err error
	if req.Env, err = environment(c, v); err != nil {
		return err
	}
	keys, err := v.detachKeys(c)
	if err != nil {
		return err
	}
	if !detach {
		if err := t.checkTerminal(req.AttachStdin, req.Tty); err != nil {
			return err
		}
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	var s engine.Streams
	restore := func() {}
	if !detach {
		if s, restore, err = t.streams(attachment{
			stdin: req.AttachStdin, stdout: true, stderr: true, terminal: req.Tty, signals: common(), keys: keys,
		}); err != nil {
			return err
		}
	}
	defer restore()
	code, err := eng.Exec(c.Context, c.Args().First(), req, s)
	var e *engine.Error
	switch {
	case err != nil && detach:
		return coded{err, 1}
	case errors.As(err, &e) && e.Kind == engine.Invalid && req.WorkingDir != "" && !path.IsAbs(req.WorkingDir):
		return coded{err, 126}
	}
	return leaving(code, err)
}

// leaving is ended, where Docker's CLI has leaving by the keys as an error.
func leaving(code int, err error) error {
	if errors.Is(err, engine.ErrDetached) {
		return coded{err, 1}
	}
	return ended(code, err)
}
