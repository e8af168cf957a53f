package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/internal/version"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

func composeExec(t *Tool, c *cli.Context, v *Verb) error {
	x, err := t.project.observed(c.Context, t, "", c.Args().Slice()[:1], false)
	if err != nil {
		return err
	}
	k, err := group.Pick(x.state, c.Args().First(), c.Int("index"), true)
	if err != nil {
		return err
	}
	detach := c.Bool("detach")
	tty := t.terminals() && !c.Bool("no-tty") && !detach
	req := container.ExecCreateRequest{
		User: c.String("user"), WorkingDir: c.String("workdir"), Privileged: c.Bool("privileged"),
		Tty: tty, Cmd: c.Args().Tail(), AttachStdin: !detach, AttachStdout: !detach, AttachStderr: !detach,
	}
	if req.Env, err = opts.Env(nil, c.StringSlice("env")); err != nil {
		return err
	}
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	var s engine.Streams
	restore := func() {}
	if !detach {
		if s, restore, err = t.Streams(Attachment{Stdin: true, Stdout: true, Stderr: true, Terminal: tty, Signals: true}); err != nil {
			return err
		}
	}
	defer restore()
	code, err := eng.Exec(c.Context, k.ID, req, s)
	return t.ended(code, err)
}

func newAttach(t *Tool) *Verb {
	proxy := opts.Toggle("sig-proxy", "", "Proxy all received signals to the process")
	proxy.Value = true
	return composeVerb(t, "Attach local standard input, output, and error streams to a service's running container", "SERVICE", 1, 1,
		func(c *cli.Context, v *Verb) error {
			x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), false)
			if err != nil {
				return err
			}
			k, err := group.Pick(x.state, c.Args().First(), c.Int("index"), true)
			if err != nil {
				return err
			}
			keys := opts.DetachKeys()
			if value := c.String("detach-keys"); value != "" {
				if keys, err = opts.Keys(value); err != nil {
					return t.Bad(v.Command.Flags, "detach-keys", value, err)
				}
			}
			eng, err := t.Engine(c.Context)
			if err != nil {
				return err
			}
			i, err := eng.Inspect(c.Context, k.ID, false)
			if err != nil {
				return err
			}
			s, restore, err := t.Streams(Attachment{
				Stdin: !c.Bool("no-stdin") && i.Config.OpenStdin, Stdout: true, Stderr: true,
				Terminal: i.Config.Tty, Signals: c.Bool("sig-proxy"), Keys: keys,
			})
			if err != nil {
				return err
			}
			defer restore()
			code, detached, err := eng.Attach(c.Context, k.ID, s)
			if detached {
				return nil
			}
			return t.ended(code, err)
		},
		opts.Text("detach-keys", "", "Override the key sequence for detaching from a container."),
		opts.Number("index", "", "index of the container if service has multiple replicas."),
		opts.Toggle("no-stdin", "", "Do not attach STDIN"), proxy)
}

func composeVersion(t *Tool, c *cli.Context) error {
	switch format := c.String("format"); {
	case c.Bool("short"):
		fmt.Fprintln(t.Out, strings.TrimPrefix(version.Version, "v"))
	case format == "json":
		return json.NewEncoder(t.Out).Encode(map[string]string{"version": version.Version})
	case format == "" || format == "pretty":
		fmt.Fprintln(t.Out, "Docker Compose version "+version.Version+" (coracle)")
	default:
		return errors.New("unsupported format: it is pretty or json")
	}
	return nil
}
