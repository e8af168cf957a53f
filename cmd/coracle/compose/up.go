package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"coracle/cmd/coracle/narrate"
	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/act"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"

	"github.com/compose-spec/compose-go/v2/utils"
	"github.com/urfave/cli/v2"
)

func createFlags() []cli.Flag {
	return []cli.Flag{
		opts.Toggle("force-recreate", "", "Recreate containers even if their configuration and image haven't changed"),
		opts.Toggle("no-recreate", "", "If containers already exist, don't recreate them. Incompatible with --force-recreate."),
		&cli.StringFlag{Name: "pull", Usage: `Pull image before running ("always"|"missing"|"never") (default "policy")`},
		opts.Toggle("quiet-pull", "", "Pull without printing progress information"),
		opts.Toggle("remove-orphans", "", "Remove containers for services not defined in the Compose file"),
		opts.List("scale", "", "`scale` Scale SERVICE to NUM instances. Overrides the scale setting in the Compose file if present."),
		opts.Toggle("yes", "y", `Assume "yes" as answer to all prompts and run non-interactively`),
		opts.Toggle("no-build", "", "Don't build an image, even if it's policy"),
		opts.Toggle("build", "", "Build images before starting containers: an error where a service would be built, for nothing is"),
	}
}

// buildable refuses --build where there is something to build.
func buildable(p *load.Project) error {
	for _, name := range slices.Sorted(keys(p.Services)) {
		if p.Services[name].Build != nil {
			return fmt.Errorf("service %q: --build: %w", name, model.ErrBuild)
		}
	}
	return nil
}

// attachable refuses services that are named and not brought up.
func attachable(p *load.Project, attach []string, from string) error {
	var missing []string
	for _, name := range attach {
		if _, ok := p.Services[name]; !ok {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return fmt.Errorf("cannot attach to services not included in up: %s", strings.Join(missing, ", "))
	}
	if _, ok := p.Services[from]; from != "" && !ok {
		return fmt.Errorf("no such service: %s: not found", from)
	}
	return nil
}

func newUp(t *Tool) *Verb {
	tied := opts.Toggle("tied", "", "In the foreground, have the containers killed when this command is killed; 'group up' does without being told")
	tied.Value = t.Scripting
	return composeVerb(t, "Create and start containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return up(t, c) },
		append(createFlags(),
			opts.Toggle("abort-on-container-exit", "", "Stops all containers if any container was stopped. Incompatible with -d"),
			opts.Toggle("abort-on-container-failure", "", "Stops all containers if any container exited with failure. Incompatible with -d"),
			opts.Toggle("always-recreate-deps", "", "Recreate dependent containers. Incompatible with --no-recreate."),
			opts.List("attach", "", "Restrict attaching to the specified services. Incompatible with --attach-dependencies."),
			opts.Toggle("attach-dependencies", "", "Automatically attach to log output of dependent services"),
			opts.Toggle("detach", "d", "Detached mode: Run containers in the background"),
			opts.Text("exit-code-from", "", "Return the exit code of the selected service container. Implies --abort-on-container-exit"),
			opts.List("no-attach", "", "Do not attach (stream logs) to the specified services"),
			opts.Toggle("menu", "", "Enable interactive shortcuts when running attached: there are none, so only --menu=false says something true"),
			opts.Toggle("quiet-build", "", "Suppress the build output, of which there is none"),
			opts.Toggle("no-color", "", "Produce monochrome output"),
			opts.Toggle("no-deps", "", "Don't start linked services"),
			opts.Toggle("no-log-prefix", "", "Don't print prefix in logs"),
			opts.Toggle("no-start", "", "Don't start the services after creating them"),
			opts.Toggle("renew-anon-volumes", "V", "Recreate anonymous volumes instead of retrieving data from the previous containers"),
			tied,
			opts.Number("timeout", "t", "Use this timeout in seconds for container shutdown when attached or when containers are already running"),
			opts.Toggle("timestamps", "", "Show timestamps"),
			opts.Toggle("wait", "", "Wait for services to be running|healthy. Implies detached mode."),
			opts.Number("wait-timeout", "", "Maximum duration in seconds to wait for the project to be running|healthy"),
		)...)
}

func newCreate(t *Tool) *Verb {
	return composeVerb(t, "Creates containers for a service", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error {
			if t.Scripting && c.NArg() == 1 && t.project.Name == "" && len(t.project.Files) == 0 {
				return found(t, c.Args().First())
			}
			o, err := upOptions(t, c)
			if err != nil {
				return err
			}
			o.NoStart = true
			w := upWork{noStart: true}
			if c.Bool("build") {
				w.check = buildable
			}
			_, err = bringUp(c.Context, t, c.Args().Slice(), true, o, w)
			return err
		}, createFlags()...)
}

func newScale(t *Tool) *Verb {
	return composeVerb(t, "Scale services", "[SERVICE=REPLICAS...]", 1, -1,
		func(c *cli.Context, v *Verb) error {
			o := group.UpOptions{}
			var names []string
			var err error
			if o.Scale, names, err = scales(c.Args().Slice()); err != nil {
				return err
			}
			_, err = bringUp(c.Context, t, names, !c.Bool("no-deps"), o, upWork{})
			return err
		}, opts.Toggle("no-deps", "", "Don't start linked services"))
}

// scales reads SERVICE=NUM.
func scales(list []string) (map[string]int, []string, error) {
	m := map[string]int{}
	var names []string
	for _, s := range list {
		name, text, ok := strings.Cut(s, "=")
		n, err := strconv.Atoi(text)
		if !ok || err != nil || n < 0 {
			return nil, nil, fmt.Errorf("invalid --scale option %q. Should be SERVICE=NUM", s)
		}
		m[name] = n
		names = append(names, name)
	}
	return m, names, nil
}

// seconds is a flag's value where it was given.
func seconds(c *cli.Context, name string) *int {
	if !c.IsSet(name) {
		return nil
	}
	n := c.Int(name)
	return &n
}

func upOptions(t *Tool, c *cli.Context) (o group.UpOptions, err error) {
	for _, flag := range []string{"renew-anon-volumes", "force-recreate", "always-recreate-deps"} {
		if !c.Bool(flag) || !c.Bool("no-recreate") {
			continue
		}
		if flag == "renew-anon-volumes" {
			return o, errors.New("--no-recreate and --renew-anon-volumes are incompatible")
		}
		return o, fmt.Errorf("--%s and --no-recreate are incompatible", flag)
	}
	switch {
	case c.Bool("force-recreate"), c.Bool("renew-anon-volumes"):
		o.Recreate = plan.Force
	case c.Bool("no-recreate"):
		o.Recreate, o.RecreateDeps = plan.Keep, plan.Keep
	}
	if c.Bool("always-recreate-deps") {
		o.RecreateDeps = plan.Force
	}
	o.RemoveOrphans = c.Bool("remove-orphans") || !c.IsSet("remove-orphans") && utils.StringToBool(os.Getenv("COMPOSE_REMOVE_ORPHANS"))
	o.IgnoreOrphans = utils.StringToBool(os.Getenv("COMPOSE_IGNORE_ORPHANS"))
	if o.RemoveOrphans && o.IgnoreOrphans {
		return o, errors.New("cannot combine COMPOSE_IGNORE_ORPHANS and --remove-orphans")
	}
	o.NewVolume, o.QuietPull, o.Timeout = c.Bool("renew-anon-volumes"), c.Bool("quiet-pull"), seconds(c, "timeout")
	switch o.Pull = c.String("pull"); o.Pull {
	case "", "always", "missing", "never":
	case "policy":
		o.Pull = ""
	default:
		return o, fmt.Errorf(`invalid --pull option %q: it is always, missing or never`, o.Pull)
	}
	o.Confirm = func(question string) bool {
		if t.project.dryRun && !c.Bool("yes") {
			t.Warn(question + " It would be asked")
			return false
		}
		return c.Bool("yes") || t.confirm(question)
	}
	o.Scale, _, err = scales(c.StringSlice("scale"))
	return o, err
}

// upWork is what is done after the containers were created.
type upWork struct {
	noStart bool
	// check refuses a project before anything is done.
	check func(p *load.Project) error
	// begin is called before the first start, with the group.
	begin func(g *act.Group)
	// after is called with all started, while the lock is held.
	after func(ctx context.Context, g *act.Group) error
}

// bringUp plans and does it, under the project's lock.
func bringUp(ctx context.Context, t *Tool, services []string, deps bool, o group.UpOptions, w upWork) (*act.Group, error) {
	p, err := t.project.load(ctx, t, services...)
	if err != nil {
		return nil, err
	}
	if err := p.Select(services, deps); err != nil {
		return nil, err
	}
	if w.check != nil {
		if err := w.check(p); err != nil {
			return nil, err
		}
	}
	o.Services = services
	s, done, err := t.project.session(ctx, t, "Running")
	if err != nil {
		return nil, err
	}
	defer done()
	var g *act.Group
	err = locked(ctx, t, s, p.Name, func() error {
		prepared, err := s.Plan(ctx, p, o)
		if err != nil {
			return err
		}
		if t.project.dryRun {
			return printPlan(t, prepared.Plan)
		}
		if g, err = s.Create(ctx, prepared); err != nil || w.noStart {
			return err
		}
		if w.begin != nil {
			w.begin(g)
		}
		if err := g.Start(ctx); err != nil {
			return err
		}
		if w.after != nil {
			return w.after(ctx, g)
		}
		return nil
	})
	if err != nil {
		done()
		t.lastWords(err)
	}
	return g, err
}

func printPlan(t *Tool, p *plan.Plan) error {
	if t.project.progress != "json" {
		p.Write(t.Out)
		return nil
	}
	e := json.NewEncoder(t.Out)
	e.SetIndent("", "  ")
	return e.Encode(p)
}

func up(t *Tool, c *cli.Context) error {
	o, err := upOptions(t, c)
	if err != nil {
		return err
	}
	wait := c.Bool("wait")
	detach := c.Bool("detach") || wait || c.Bool("no-start") || t.project.dryRun
	abort := c.Bool("abort-on-container-exit") || c.String("exit-code-from") != ""
	failures := c.Bool("abort-on-container-failure")
	attached := abort || failures || c.Bool("attach-dependencies") || len(c.StringSlice("attach")) > 0
	switch {
	case c.Bool("abort-on-container-exit") && failures:
		return errors.New("--abort-on-container-failure cannot be combined with --abort-on-container-exit")
	case wait && attached:
		return errors.New("--wait cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach or --attach-dependencies")
	case c.Bool("detach") && attached:
		return errors.New("--detach cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach or --attach-dependencies")
	case c.Bool("menu"):
		t.Warn("there is no menu")
	}
	o.NoStart = c.Bool("no-start")
	w := upWork{noStart: o.NoStart}
	if wait {
		w.after = func(ctx context.Context, g *act.Group) error { return waitUp(ctx, t, g, seconds(c, "wait-timeout")) }
	}
	w.check = func(p *load.Project) error {
		if c.Bool("build") {
			if err := buildable(p); err != nil {
				return err
			}
		}
		return attachable(p, c.StringSlice("attach"), c.String("exit-code-from"))
	}
	services, deps := c.Args().Slice(), !c.Bool("no-deps")
	if detach {
		ctx, stop := t.Interruptible(c.Context)
		defer stop()
		_, err := bringUp(ctx, t, services, deps, o, w)
		return err
	}
	f := &attended{t: t, c: c, services: services, abort: abort, failures: failures, check: w.check, from: c.String("exit-code-from"), o: o}
	return f.run(deps)
}

// waitUp is --wait: for how long, and what is said when it was not enough.
func waitUp(ctx context.Context, t *Tool, g *act.Group, timeout *int) error {
	if timeout != nil && *timeout > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*timeout)*time.Second)
		defer cancel()
	}
	err := proven(ctx, t, g)
	if err == nil {
		err = group.Wait(ctx, g)
	}
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	var states []string
	for _, name := range slices.Sorted(keys(g.Live)) {
		for _, c := range g.Live[name] {
			states = append(states, c.Name+" is "+health(t, c))
		}
	}
	return fmt.Errorf("application not healthy after %ds: %s", *timeout, strings.Join(states, ", "))
}

// proof is how long a container without a healthcheck must have run to be taken for
// one that runs: docker compose looks for the first time that long after the start.
const proof = 500 * time.Millisecond

// proven waits until each such container has had that long to end at once.
func proven(ctx context.Context, t *Tool, g *act.Group) error {
	eng, err := t.Engine(ctx)
	if err != nil {
		return err
	}
	rest := time.Duration(0)
	for _, list := range g.Live {
		for _, c := range list {
			i, err := eng.Inspect(ctx, c.ID, false)
			if err != nil || i.State.Health != nil {
				continue // what there is to say of it comes next
			}
			if began, err := time.Parse(time.RFC3339Nano, i.State.StartedAt); err == nil {
				rest = max(rest, min(proof, proof-time.Since(began)))
			}
		}
	}
	select {
	case <-time.After(rest):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func health(t *Tool, c *plan.Container) string {
	eng, err := t.Engine(context.Background())
	if err != nil {
		return "unknown"
	}
	i, err := eng.Inspect(context.Background(), c.ID, false)
	if err != nil {
		return "gone"
	}
	if h := i.State.Health; h != nil && string(i.State.Status) == "running" {
		return string(h.Status)
	}
	return string(i.State.Status)
}

// attended is `up` in the foreground: it shows what the containers write, and
// stops them when it is told to end.
type attended struct {
	t        *Tool
	c        *cli.Context
	services []string
	abort    bool // when one ends
	failures bool // when one fails
	from     string
	o        group.UpOptions
	check    func(p *load.Project) error

	logs  *narrate.Logs
	mu    sync.Mutex
	codes map[string]int // by service
	wg    sync.WaitGroup
	ended chan *plan.Container
	group *act.Group
	stop  context.CancelFunc
	untie func() // nil: killed, we leave the containers
}

func (f *attended) run(deps bool) error {
	ctx, cancel := context.WithCancel(f.c.Context)
	defer cancel()
	f.stop, f.codes, f.ended = cancel, map[string]int{}, make(chan *plan.Container, 4096)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if f.c.Bool("tied") {
		signal.Notify(signals, syscall.SIGHUP)
	}
	defer signal.Stop(signals)
	defer func() {
		if f.untie != nil {
			f.untie()
		}
	}()
	result := make(chan error, 1)
	go func() {
		g, err := bringUp(ctx, f.t, f.services, deps, f.o, upWork{check: f.check, begin: f.begin})
		if g != nil && err != nil && g.Live != nil {
			f.group = g
		}
		result <- err
	}()
	select {
	case err := <-result:
		if err != nil {
			return err
		}
	case <-signals:
		cancel()
		<-result
		return f.down(signals, 130)
	}
	return f.follow(ctx, signals)
}

// begin makes the printer and has each container followed from its start.
func (f *attended) begin(g *act.Group) {
	f.group = g
	var names []string
	for _, list := range g.Live {
		for _, c := range list {
			if f.shown(c.Service) {
				names = append(names, short(c))
			}
		}
	}
	f.logs = narrate.NewLogs(f.t.Out, f.t.project.color(f.t, f.c.Bool("no-color")), !f.c.Bool("no-log-prefix"), names)
	fmt.Fprintf(f.t.Out, "Attaching to %s\n", strings.Join(slices.Sorted(slices.Values(names)), ", "))
	g.Started = f.started
	if f.c.Bool("tied") {
		var ids []string
		for _, list := range g.Live {
			for _, c := range list {
				ids = append(ids, c.ID)
			}
		}
		var err error
		if f.untie, err = f.t.tether(g.Project.Name, ids); err != nil {
			f.t.Warn("if this command is killed, the containers stay: " + err.Error())
		}
	}
	for _, list := range g.Live {
		for _, c := range list {
			if c.Running() && !g.Anew[c.ID] {
				f.started(c, time.Now())
			}
		}
	}
}

// short is a container's name without its project's.
func short(c *plan.Container) string {
	for _, separator := range []string{"-", "_"} {
		if rest, ok := strings.CutPrefix(c.Name, c.Labels[model.LabelProject]+separator); ok {
			return rest
		}
	}
	return c.Name
}

// started follows one container to its end.
func (f *attended) started(c *plan.Container, begin time.Time) {
	shown := f.shown(c.Service)
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		ctx := context.WithoutCancel(f.c.Context)
		if shown {
			w := f.logs.Of(short(c))
			f.group.Engine.Logs(ctx, c.ID, engine.LogOptions{Follow: true, Tail: -1, Since: begin, Timestamps: f.c.Bool("timestamps")}, w, w)
			w.Close()
		}
		code, err := f.group.Engine.Wait(ctx, c.ID)
		if err == nil {
			f.mu.Lock()
			f.codes[c.Service] = code
			f.mu.Unlock()
			if shown {
				f.logs.Say(fmt.Sprintf("%s exited with code %d", short(c), code))
			}
		}
		f.ended <- c
	}()
}

// shown tells whether a service's output is.
func (f *attended) shown(service string) bool {
	if only := f.c.StringSlice("attach"); len(only) > 0 {
		return slices.Contains(only, service)
	}
	if slices.Contains(f.c.StringSlice("no-attach"), service) {
		return false
	}
	if s, ok := f.group.Project.Services[service]; ok && s.Attach != nil && !*s.Attach {
		return false
	}
	return len(f.services) == 0 || f.c.Bool("attach-dependencies") || slices.Contains(f.services, service)
}

// follow waits for the end: of all containers, of one if that is to be the end
// of all, or of us.
func (f *attended) follow(ctx context.Context, signals chan os.Signal) error {
	left := 0
	for _, list := range f.group.Live {
		left += len(list)
	}
	for left > 0 {
		select {
		case <-signals:
			return f.down(signals, 130)
		case c := <-f.ended:
			left--
			f.mu.Lock()
			code := f.codes[c.Service]
			f.mu.Unlock()
			if f.from != "" && c.Service != f.from && !f.abort {
				continue
			}
			if f.abort || f.failures && code != 0 {
				fmt.Fprintln(f.t.Err, "Aborting on container exit...")
				if f.from == "" {
					return f.down(signals, code)
				}
				f.down(signals, 0)
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.t.ended(f.codes[f.from], nil)
			}
		}
	}
	return nil
}

// down stops all in reverse order; a second signal kills.
func (f *attended) down(signals chan os.Signal, code int) error {
	if f.group == nil {
		return f.t.ended(code, nil)
	}
	if code == 130 {
		fmt.Fprintln(f.t.Err, "Gracefully Stopping... press Ctrl+C again to force")
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.c.Context))
	defer cancel()
	s, done, err := f.t.project.session(ctx, f.t, "Stopping")
	if err != nil {
		return err
	}
	defer done()
	var list []*plan.Container
	for _, l := range f.group.Live {
		list = append(list, l...)
	}
	result := make(chan error, 1)
	go func() { result <- s.Stop(ctx, f.group.Project, list, act.StopOptions{Timeout: f.o.Timeout}) }()
	select {
	case err = <-result:
	case <-signals:
		cancel()
		for _, c := range list {
			if eng, e := f.t.Engine(ctx); e == nil {
				eng.Kill(context.WithoutCancel(ctx), c.ID, "")
			}
		}
		<-result
	}
	f.wg.Wait()
	if err != nil {
		return err
	}
	return f.t.ended(code, nil)
}
