package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/engine/changes"
	"coracle/group"
	"coracle/group/act"
	"coracle/group/load"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/urfave/cli/v2"
)

func newRun(t *Tool) *Verb {
	interactive := opts.Toggle("interactive", "i", "Keep STDIN open even if not attached")
	interactive.Value = true
	v := composeVerb(t, "Run a one-off command on a service", "SERVICE [COMMAND] [ARGS...]", 1, -1,
		func(c *cli.Context, v *Verb) error { return composeRun(t, c, v) },
		opts.List("cap-add", "", "Add Linux capabilities"),
		opts.List("cap-drop", "", "Drop Linux capabilities"),
		opts.Toggle("detach", "d", "Run container in background and print container ID"),
		opts.Text("entrypoint", "", "Override the entrypoint of the image"),
		opts.List("env", "e", "Set environment variables"),
		opts.List("env-from-file", "", "Set environment variables from file"),
		interactive,
		opts.List("label", "l", "Add or override a label"),
		opts.Text("name", "", "Assign a name to the container"),
		opts.Toggle("no-TTY", "T", "Disable pseudo-TTY allocation (default: auto-detected)"),
		opts.Toggle("no-deps", "", "Don't start linked services"),
		opts.List("publish", "p", "Publish a container's port(s) to the host"),
		opts.Text("pull", "", `Pull image before running ("always"|"missing"|"never")`),
		opts.Toggle("quiet", "q", "Don't print anything to STDOUT"),
		opts.Toggle("quiet-pull", "", "Pull without printing progress information"),
		opts.Toggle("remove-orphans", "", "Remove containers for services not defined in the Compose file"),
		opts.Toggle("rm", "", "Automatically remove the container when it exits"),
		opts.Toggle("service-ports", "P", "Run command with all service's ports enabled and mapped to the host"),
		opts.Toggle("use-aliases", "", "Use the service's network useAliases in the network(s) the container connects to"),
		opts.Text("user", "u", "Run as specified username or uid"),
		opts.List("volume", "v", "Bind mount a volume"),
		opts.Text("workdir", "w", "Working directory inside the container"))
	// As docker compose: what of ours fails is 1, not the 125 of run.
	v.Mixed, v.Enters = false, true
	return v
}

func composeRun(t *Tool, c *cli.Context, v *Verb) error {
	name := c.Args().First()
	p, err := t.project.load(c.Context, t, name)
	if err != nil {
		return err
	}
	service, err := p.GetService(name)
	if err != nil {
		return fmt.Errorf("no such service: %s", name)
	}
	if err := p.Select([]string{name}, !c.Bool("no-deps")); err != nil {
		return err
	}
	detach := c.Bool("detach")
	if err := t.override(c, v, &service, t.terminals() && !c.Bool("no-TTY") && !detach, c.Bool("interactive") && !detach); err != nil {
		return err
	}
	s, done, err := t.project.session(c.Context, t, "Running")
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := t.Interruptible(c.Context)
	g, err := dependencies(ctx, t, s, p, name, c)
	if err != nil {
		stop()
		done()
		t.lastWords(err)
		return err
	}
	id, err := s.Make(ctx, p, service, g, group.Single{
		Name: c.String("name"), Remove: c.Bool("rm"), Aliases: c.Bool("use-aliases"), Stdin: service.StdinOpen,
	})
	stop()
	done()
	if err != nil {
		return err
	}
	eng, err := t.Engine(c.Context)
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
	streams, restore, err := t.Streams(Attachment{
		Stdin: service.StdinOpen, Stdout: !c.Bool("quiet"), Stderr: !c.Bool("quiet"), Terminal: service.Tty, Signals: true,
	})
	if err != nil {
		return err
	}
	defer restore()
	code, err := eng.Run(c.Context, id, streams)
	return t.ended(code, err)
}

// dependencies has what a service waits for up, and in the states that it
// wants.
func dependencies(ctx context.Context, t *Tool, s *group.Session, p *load.Project, name string, c *cli.Context) (*act.Group, error) {
	var others []string
	for _, other := range p.ServiceNames() {
		if other != name {
			others = append(others, other)
		}
	}
	if len(others) == 0 {
		return nil, nil
	}
	deps := p.Services[name].DependsOn
	rest := *p
	if err := rest.Select(others, true); err != nil {
		return nil, err
	}
	var g *act.Group
	err := locked(ctx, t, s, p.Name, func() error {
		o := group.UpOptions{}
		o.RemoveOrphans, o.QuietPull, o.Services = c.Bool("remove-orphans"), c.Bool("quiet-pull"), others
		prepared, err := s.Plan(ctx, &rest, o)
		if err != nil {
			return err
		}
		if g, err = s.Create(ctx, prepared); err != nil {
			return err
		}
		return g.Start(ctx)
	})
	if err != nil {
		return nil, err
	}
	return g, g.Dependencies(ctx, name, deps)
}

// override changes a service by what the command line says.
func (t *Tool) override(c *cli.Context, v *Verb, s *types.ServiceConfig, tty, stdin bool) error {
	s.Tty, s.StdinOpen = tty, stdin
	if args := c.Args().Tail(); len(args) > 0 {
		s.Command = args
	}
	if c.IsSet("entrypoint") {
		s.Entrypoint = types.ShellCommand(strings.Fields(c.String("entrypoint")))
		if s.Entrypoint == nil {
			s.Entrypoint = types.ShellCommand{""}
		}
		if c.NArg() < 2 {
			s.Command = nil
		}
	}
	for flag, to := range map[string]*string{"user": &s.User, "workdir": &s.WorkingDir} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	s.CapAdd = append(slices.Clone(s.CapAdd), c.StringSlice("cap-add")...)
	s.CapDrop = append(slices.Clone(s.CapDrop), c.StringSlice("cap-drop")...)
	env, err := opts.Env(c.StringSlice("env-from-file"), c.StringSlice("env"))
	if err != nil {
		return err
	}
	own := types.NewMappingWithEquals(env)
	s.Environment = types.MappingWithEquals{}.OverrideBy(s.Environment).OverrideBy(own)
	labels := types.Labels{}
	for k, val := range s.Labels {
		labels[k] = val
	}
	for _, l := range c.StringSlice("label") {
		k, val, _ := strings.Cut(l, "=")
		labels[k] = val
	}
	s.Labels = labels
	if !c.Bool("service-ports") {
		s.Ports = nil
	}
	for _, text := range c.StringSlice("publish") {
		ports, err := types.ParsePortConfig(text)
		if err != nil {
			return t.Bad(v.Command.Flags, "publish", text, err)
		}
		s.Ports = append(s.Ports, ports...)
	}
	for _, text := range c.StringSlice("volume") {
		vol, err := format.ParseVolume(text)
		if err != nil {
			return t.Bad(v.Command.Flags, "volume", text, err)
		}
		s.Volumes = append(s.Volumes, vol)
	}
	return nil
}

func newCp(t *Tool) *Verb {
	return composeVerb(t, "Copy files/folders between a service container and the local filesystem", "SERVICE:SRC_PATH DEST_PATH|- | SRC_PATH|- SERVICE:DEST_PATH", 2, 2,
		func(c *cli.Context, v *Verb) error { return composeCp(t, c) },
		opts.Toggle("all", "", "Include containers created by the run command"),
		opts.Toggle("archive", "a", "Archive mode (copy all uid/gid information)"),
		opts.Toggle("follow-link", "L", "Always follow symbol link in SRC_PATH"),
		opts.Number("index", "", "Index of the container if service has multiple replicas"))
}

func composeCp(t *Tool, c *cli.Context) error {
	from, src := t.Side(c.Args().Get(0))
	to, dst := t.Side(c.Args().Get(1))
	service := from + to
	switch {
	case from != "" && to != "":
		return errors.New("copying between services is not supported")
	case service == "":
		return errors.New("unknown copy direction: one side is SERVICE:PATH")
	}
	x, err := t.project.observed(c.Context, t, "", []string{service}, c.Bool("all"))
	if err != nil {
		return err
	}
	done := false
	for _, k := range x.list {
		if i := c.Int("index"); i != 0 && k.Number != i {
			continue
		}
		done = true
		err := t.OnFiles(c, k.ID, func(ctx context.Context, f *changes.Files) error {
			switch {
			case from != "" && dst == "-":
				return f.CopyTar(ctx, src, t.Out, c.Bool("follow-link"))
			case from != "":
				_, err := f.CopyOut(ctx, src, dst, c.Bool("follow-link"))
				return err
			}
			_, _, err := f.CopyIn(ctx, src, dst, t.In, c.Bool("follow-link"), c.Bool("archive"))
			return err
		})
		if err != nil || from != "" {
			return err // out of the first one; into all
		}
	}
	if !done {
		return fmt.Errorf("no container found for service %q", service)
	}
	return nil
}
