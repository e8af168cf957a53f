package compose

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/act"
	"coracle/group/plan"

	"github.com/urfave/cli/v2"
)

func newDown(t *Tool) *Verb {
	return composeVerb(t, "Stop and remove containers, networks", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			o := group.DownOptions{
				Services: c.Args().Slice(), Timeout: seconds(c, "timeout"), Volumes: c.Bool("volumes"),
				Images: c.String("rmi"), RemoveOrphans: c.Bool("remove-orphans"),
			}
			if o.Images != "" && o.Images != "all" && o.Images != "local" {
				return fmt.Errorf("invalid value for --rmi: %q", o.Images)
			}
			return down(c.Context, t, o)
		},
		opts.Toggle("remove-orphans", "", "Remove containers for services not defined in the Compose file"),
		opts.Text("rmi", "", `Remove images used by services. "local" remove only images that don't have a custom tag ("local"|"all")`),
		opts.Number("timeout", "t", "Specify a shutdown timeout in seconds"),
		opts.Toggle("volumes", "v", `Remove named volumes declared in the "volumes" section of the Compose file and anonymous volumes attached to containers`),
	)
}

func down(ctx context.Context, t *Tool, o group.DownOptions) error {
	name, files, err := t.project.known(ctx, t)
	if err != nil {
		return err
	}
	s, done, err := t.project.session(ctx, t, "Running")
	if err != nil {
		return err
	}
	defer done()
	if t.project.dryRun {
		state, err := s.Observe(ctx, name)
		if err == nil {
			for _, c := range chosen(state, o.Services, true) {
				fmt.Fprintf(t.Out, "remove    container %s\n", c.Name)
			}
		}
		return err
	}
	ctx, stop := t.Interruptible(ctx)
	defer stop()
	return locked(ctx, t, s, name, func() error {
		if err := s.Down(ctx, name, files, o); err != nil || !t.project.scripted || len(o.Services) > 0 {
			return err
		}
		root, _, err := engine.Places(t.Options())
		if err != nil {
			return err
		}
		return group.Forget(root, name)
	})
}

func newStop(t *Tool) *Verb {
	return composeVerb(t, "Stop services", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			return changed(c, t, "Stopping", false, func(ctx context.Context, x *sight) error {
				return x.Stop(ctx, x.files, x.list, act.StopOptions{Timeout: seconds(c, "timeout")})
			})
		}, opts.Number("timeout", "t", "Specify a shutdown timeout in seconds"))
}

func newStart(t *Tool) *Verb {
	return composeVerb(t, "Start services", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			return changed(c, t, "Starting", false, func(ctx context.Context, x *sight) error {
				services := c.Args().Slice()
				if len(x.list) == 0 {
					return fmt.Errorf("service %q has no container to start", strings.Join(services, " "))
				}
				// What they depend on starts with them.
				return x.startable(services).Start(ctx)
			})
		})
}

// startable are the containers that are to be started, with those that they
// depend on.
func (x *sight) startable(services []string) *act.Group {
	g := &act.Group{Actor: x.Actor, Live: map[string][]*plan.Container{}, Anew: map[string]bool{}}
	if x.files != nil {
		g.Project = x.files
	}
	graph := x.state.Graph()
	want := map[string]bool{}
	var take func(name string)
	take = func(name string) {
		if !want[name] {
			want[name] = true
			for dep := range graph[name] {
				take(dep)
			}
		}
	}
	if len(services) == 0 {
		for _, c := range x.list {
			take(c.Service)
		}
	}
	for _, s := range services {
		take(s)
	}
	for name := range want {
		g.Live[name] = x.state.Of(name)
	}
	return g
}

func newRestart(t *Tool) *Verb {
	return composeVerb(t, "Restart service containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			return changed(c, t, "Restarting", false, func(ctx context.Context, x *sight) error {
				list := x.list
				for _, name := range c.Args().Slice() {
					if len(x.state.Of(name)) == 0 {
						return fmt.Errorf("no such service: %s", name)
					}
				}
				if !c.Bool("no-deps") {
					list = x.dependent(list)
				}
				if err := x.Stop(ctx, x.files, list, act.StopOptions{Timeout: seconds(c, "timeout")}); err != nil {
					return err
				}
				var services []string
				only := map[string]bool{}
				for _, c := range list {
					c.State = "exited"
					only[c.ID] = true
					services = append(services, c.Service)
				}
				g := x.startable(services)
				g.Only = only
				return g.Start(ctx)
			})
		}, opts.Toggle("no-deps", "", "Don't restart dependent services"),
		opts.Number("timeout", "t", "Specify a shutdown timeout in seconds"))
}

// dependent adds the containers of services that want to be started again when
// one of list is.
func (x *sight) dependent(list []*plan.Container) []*plan.Container {
	out := slices.Clone(list)
	graph := x.state.Graph()
	for i := 0; i < len(out); i++ {
		for _, name := range graph.Dependents(out[i].Service) {
			if !graph[name][out[i].Service].Restart {
				continue
			}
			for _, c := range x.state.Of(name) {
				if !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

func newKill(t *Tool) *Verb {
	return composeVerb(t, "Force stop service containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			return changed(c, t, "Killing", true, func(ctx context.Context, x *sight) error {
				eng, err := t.Engine(ctx)
				if err != nil {
					return err
				}
				if !c.Bool("remove-orphans") {
					x.list = slices.DeleteFunc(x.list, x.orphan)
				}
				if len(x.list) == 0 {
					x.done()
					fmt.Fprintln(t.Err, "no container to kill")
					return nil
				}
				return x.running("Killing", "Killed", func(c2 *plan.Container) error { return eng.Kill(ctx, c2.ID, c.String("signal")) })
			})
		}, opts.Text("signal", "s", `SIGNAL to send to the container (default "SIGKILL")`),
		opts.Toggle("remove-orphans", "", "Remove containers for services not defined in the Compose file"))
}

// orphan tells whether a container's service is in the files no more.
func (x *sight) orphan(c *plan.Container) bool {
	if x.files == nil {
		return false
	}
	_, known := x.files.Services[c.Service]
	_, disabled := x.files.DisabledServices[c.Service]
	return !known && !disabled
}

// running does something to each container that runs.
func (x *sight) running(begin, end string, do func(c *plan.Container) error) error {
	var list []*plan.Container
	for _, c := range x.list {
		if c.Running() {
			list = append(list, c)
		}
	}
	return x.Each(list, begin, end, do)
}

func newPause(t *Tool) *Verb {
	return composeVerb(t, "Pause services", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return frozen(c, t, true) })
}

func newUnpause(t *Tool) *Verb {
	return composeVerb(t, "Unpause services", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return frozen(c, t, false) })
}

func frozen(c *cli.Context, t *Tool, freeze bool) error {
	return changed(c, t, "Running", false, func(ctx context.Context, x *sight) error {
		eng, err := t.Engine(ctx)
		if err != nil {
			return err
		}
		if freeze {
			return x.running("Pausing", "Paused", func(c *plan.Container) error { return engine.Pause(ctx, eng, c.ID) })
		}
		return x.running("Unpausing", "Unpaused", func(c *plan.Container) error { return act.Gone(engine.Unpause(ctx, eng, c.ID)) })
	})
}

func newRm(t *Tool) *Verb {
	v := composeVerb(t, "Removes stopped service containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return remove(t, c) },
		opts.Toggle("force", "f", "Don't ask to confirm removal"),
		opts.Toggle("stop", "s", "Stop the containers, if required, before removing"),
		opts.Toggle("volumes", "v", "Remove any anonymous volumes attached to containers"))
	v.Description = "By default, anonymous volumes attached to containers will not be removed. You\ncan override this with -v."
	return v
}

func remove(t *Tool, c *cli.Context) error {
	return changed(c, t, "Removing", false, func(ctx context.Context, x *sight) error {
		var list []*plan.Container
		for _, k := range x.list {
			if c.Bool("stop") || !k.Running() {
				list = append(list, k)
			}
		}
		if len(list) == 0 {
			fmt.Fprintln(t.Err, "No stopped containers")
			return nil
		}
		if !c.Bool("force") {
			names := make([]string, len(list))
			for i, k := range list {
				names[i] = k.Name
			}
			if !t.confirm("Going to remove " + strings.Join(names, ", ")) {
				return nil
			}
		}
		return x.Stop(ctx, x.files, list, act.StopOptions{Remove: true, Volumes: c.Bool("volumes")})
	})
}

// confirm asks for a yes; the end of the input is a no.
func (t *Tool) confirm(question string) bool {
	fmt.Fprintf(t.Err, "? %s (y/N) ", question)
	answer, _ := bufio.NewReader(t.In).ReadString('\n')
	if !strings.HasSuffix(answer, "\n") {
		fmt.Fprintln(t.Err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes", "true", "1":
		return true
	}
	return false
}

// changed is a command that changes containers that there are.
func changed(c *cli.Context, t *Tool, title string, oneoffs bool, do func(ctx context.Context, x *sight) error) error {
	ctx, stop := t.Interruptible(c.Context)
	defer stop()
	x, err := t.project.observed(ctx, t, title, c.Args().Slice(), oneoffs)
	if err != nil {
		return err
	}
	defer x.done()
	return locked(ctx, t, x.Session, x.name, func() error {
		// Who held the lock may have changed all.
		if x.state, err = x.Observe(ctx, x.name); err != nil {
			return err
		}
		x.list = chosen(x.state, c.Args().Slice(), oneoffs)
		if t.project.dryRun {
			for _, k := range x.list {
				fmt.Fprintf(t.Out, "%s container %s\n", strings.ToLower(c.Command.Name), k.Name)
			}
			return nil
		}
		err := do(ctx, x)
		if err != nil {
			x.done()
			t.lastWords(err)
		}
		return err
	})
}

func newWait(t *Tool) *Verb {
	return composeVerb(t, "Block until containers of all (or specified) services stop.", "SERVICE [SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			if c.NArg() == 0 && !t.project.scripted && !c.Bool("any") && !c.Bool("all") {
				return errors.New("name the services to wait for, or say --any or --all")
			}
			x, err := t.project.observed(c.Context, t, "Waiting", c.Args().Slice(), false)
			if err != nil {
				return err
			}
			var list []*plan.Container
			for _, k := range x.list {
				if k.Running() {
					list = append(list, k)
				}
			}
			if len(list) == 0 {
				return fmt.Errorf("no containers for project %q", x.name)
			}
			code, err := waitFor(t, c, x, list)
			if err != nil {
				return err
			}
			if c.Bool("down-project") {
				if err := down(c.Context, t, group.DownOptions{RemoveOrphans: true}); err != nil {
					return err
				}
			}
			return t.ended(code, nil)
		}, opts.Toggle("all", "", "Wait until all have ended: the exit code is that of the first that failed"),
		opts.Toggle("any", "", "Wait until one has ended: the exit code is its"),
		opts.Toggle("down-project", "", "Drops project when the first container stops"))
}

func newExec(t *Tool) *Verb {
	v := composeVerb(t, "Execute a command in a running container", "SERVICE COMMAND [ARGS...]", 2, -1,
		func(c *cli.Context, v *Verb) error { return composeExec(t, c, v) },
		opts.Toggle("detach", "d", "Detached mode: Run command in the background"),
		opts.List("env", "e", "Set environment variables"),
		opts.Number("index", "", "Index of the container if service has multiple replicas"),
		opts.Toggle("no-tty", "T", "Disable pseudo-TTY allocation. By default 'compose exec' allocates a TTY where the input is one."),
		opts.Toggle("interactive", "i", "Keep STDIN open even if not attached"),
		opts.Toggle("tty", "t", "Allocate a pseudo-TTY"),
		opts.Toggle("privileged", "", "Give extended privileges to the process"),
		opts.Text("user", "u", "Run the command as this user"),
		opts.Text("workdir", "w", "Path to workdir directory for this command"))
	v.Mixed, v.Enters = false, true
	return v
}

func newVersion(t *Tool) *Verb {
	return composeVerb(t, "Show the version of what serves Compose files", "", 0, 0,
		func(c *cli.Context, v *Verb) error { return composeVersion(t, c) },
		opts.Text("format", "f", "Format the output. Values: [pretty | json]. (Default: pretty)"),
		opts.Toggle("short", "", "Shows only the version number"))
}
