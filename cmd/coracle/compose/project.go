package compose

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"strconv"
	"strings"

	"coracle/cmd/coracle/narrate"
	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/act"
	"coracle/group/live"
	"coracle/group/load"
	"coracle/group/plan"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Project is what the words between `compose` and its command said.
type Project struct {
	load.Options
	progress string
	ansi     string
	parallel int
	dryRun   bool
	scripted bool // the name is that of a group without files
}

// Flags stand between `compose` and its command.
func Flags() []cli.Flag {
	progress, ansi := opts.Text("progress", "", "Set type of progress output (auto, tty, plain, json, quiet)"), opts.Text("ansi", "", `Control when to print ANSI control characters ("never"|"always"|"auto")`)
	ansi.Value = "auto"
	parallel := opts.Number("parallel", "", "Control max parallelism, -1 for unlimited")
	return []cli.Flag{
		opts.Toggle("all-resources", "", "Include all resources, even those not used by services"),
		ansi,
		opts.Toggle("compatibility", "", "Run compose in backward compatibility mode"),
		opts.Toggle("dry-run", "", "Print the plan and do nothing"),
		opts.List("env-file", "", "Specify an alternate environment file"),
		opts.List("file", "f", "Compose configuration files"),
		parallel,
		opts.List("profile", "", "Specify a profile to enable"),
		progress,
		opts.Text("project-directory", "", "Specify an alternate working directory (default: the path of the first Compose file)"),
		opts.Text("project-name", "p", "Project name"),
	}
}

// Read makes a project of the flags before the command, as argv.Parse returns
// them, and of the environment.
func Read(given []string) (*Project, error) {
	p := &Project{ansi: "auto", progress: os.Getenv("COMPOSE_PROGRESS")}
	p.parallel, _ = strconv.Atoi(os.Getenv("COMPOSE_PARALLEL_LIMIT"))
	if v := os.Getenv("COMPOSE_ENV_FILES"); v != "" {
		p.EnvFiles = strings.Split(v, ",")
	}
	var named []string
	for _, f := range given {
		name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
		p.set(name, value, &named)
	}
	if named != nil {
		p.EnvFiles = named
	}
	switch p.ansi {
	case "never", "always", "auto":
		return p, nil
	}
	return nil, fmt.Errorf(`unsupported --ansi value %q: it is never, always or auto`, p.ansi)
}

func (p *Project) set(name, value string, envFiles *[]string) {
	yes := value == "true"
	switch name {
	case "file":
		p.Files = append(p.Files, value)
	case "env-file":
		*envFiles = append(*envFiles, value)
	case "profile":
		p.Profiles = append(p.Profiles, value)
	case "project-name":
		p.Name = value
	case "project-directory":
		p.Directory = value
	case "compatibility":
		p.Compatible = yes
	case "dry-run":
		p.dryRun = yes
	case "all-resources":
		p.All = yes
	case "progress":
		p.progress = value
	case "ansi":
		p.ansi = value
	case "parallel":
		p.parallel, _ = strconv.Atoi(value)
	}
}

// load reads the project's files.
func (p *Project) load(ctx context.Context, t *Tool, services ...string) (*load.Project, error) {
	p.Warn = t.Warn
	return load.Load(ctx, p.Options, services...)
}

// known is the project's name, and its files if it has any: commands that work
// on what there is need none when -p says which.
func (p *Project) known(ctx context.Context, t *Tool, services ...string) (string, *load.Project, error) {
	env := os.Getenv("COMPOSE_PROJECT_NAME")
	if p.Name != "" && len(p.Files) == 0 {
		return p.Name, nil, nil
	}
	found, err := p.load(ctx, t, services...)
	if err != nil {
		if env != "" {
			return env, nil, nil
		}
		return "", nil, err
	}
	return found.Name, found, nil
}

// session opens the engine for a command that shows its progress under a title.
// done is to be called before anything else is printed.
func (p *Project) session(ctx context.Context, t *Tool, title string) (s *group.Session, done func(), err error) {
	eng, err := t.Engine(ctx)
	if err != nil {
		return nil, nil, err
	}
	root, run, err := engine.Places(t.Options())
	if err != nil {
		return nil, nil, err
	}
	mode := p.progress
	if mode == "" && p.ansi == "never" {
		mode = "plain"
	}
	show, err := narrate.New(mode, title, t.Err, errorSize(t))
	if err != nil {
		return nil, nil, err
	}
	a := act.New(live.New(eng, root, t.Warn), p.parallel, show.Show)
	return &group.Session{Actor: a, Run: run, Warn: t.Warn}, show.Close, nil
}

// errorSize is the size of the terminal that errors go to; nil without one.
func errorSize(t *Tool) func() (rows, cols uint16) {
	f, ok := t.Err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func() (uint16, uint16) {
		cols, rows, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0, 0
		}
		return uint16(rows), uint16(cols)
	}
}

// color tells whether to colour the output.
func (p *Project) color(t *Tool, off bool) bool {
	if off || p.ansi == "never" || os.Getenv("NO_COLOR") != "" {
		return false
	}
	f, ok := t.Out.(*os.File)
	return p.ansi == "always" || ok && term.IsTerminal(int(f.Fd()))
}

// locked does work while no other command changes the project.
func locked(ctx context.Context, t *Tool, s *group.Session, name string, work func() error) error {
	release, err := s.Lock(ctx, name, func(pid string) {
		t.Warn(fmt.Sprintf("another command (process %s) works on %s: waiting for it", pid, name))
	})
	if err != nil {
		return err
	}
	defer release()
	return work()
}

// observed is a command on containers that there are: it finds the project, and
// those of the named services.
func (p *Project) observed(ctx context.Context, t *Tool, title string, services []string, oneoffs bool) (*sight, error) {
	name, files, err := p.known(ctx, t)
	if err != nil {
		return nil, err
	}
	s, done, err := p.session(ctx, t, title)
	if err != nil {
		return nil, err
	}
	state, err := s.Observe(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, service := range services {
		if files != nil {
			if _, ok := files.Services[service]; ok {
				continue
			}
			if _, ok := files.DisabledServices[service]; ok {
				continue
			}
		}
		// As docker compose: who says -p alone is not told that there is no such service.
		if len(state.Of(service)) == 0 && (files != nil || p.scripted) {
			return nil, fmt.Errorf("no such service: %s", service)
		}
	}
	list := chosen(state, services, oneoffs)
	return &sight{s, name, files, state, list, done}, nil
}

// sight is a project as a command finds it.
type sight struct {
	*group.Session
	name  string
	files *load.Project
	state *plan.State
	list  []*plan.Container
	done  func()
}

func chosen(state *plan.State, services []string, oneoffs bool) []*plan.Container {
	var list []*plan.Container
	for _, c := range state.Containers {
		if c.Oneoff && !oneoffs {
			continue
		}
		ok := len(services) == 0
		for _, s := range services {
			ok = ok || s == c.Service
		}
		if ok {
			list = append(list, c)
		}
	}
	return list
}

// failedContainer prints the end of a failed container's log.
func (t *Tool) lastWords(err error) {
	for _, e := range causes(err) {
		if len(e.Log) == 0 {
			continue
		}
		if t.project.ForPrograms() {
			writeLog(t.Err, e)
			continue
		}
		fmt.Fprintf(t.Err, "last lines of %s:\n", e.Container)
		for _, line := range e.Log {
			fmt.Fprintf(t.Err, "  %s\n", line)
		}
	}
}

// causes are all failures of containers in a joined error.
func causes(err error) []*act.Error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*act.Error
		for _, e := range joined.Unwrap() {
			all = append(all, causes(e)...)
		}
		return all
	}
	var e *act.Error
	if errors.As(err, &e) {
		return []*act.Error{e}
	}
	return nil
}

// keys are a map's keys.
func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }
