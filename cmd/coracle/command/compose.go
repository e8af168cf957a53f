package command

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"strconv"
	"strings"

	"coracle/cmd/coracle/argv"
	"coracle/cmd/coracle/narrate"
	"coracle/engine"
	"coracle/group"
	"coracle/group/act"
	"coracle/group/live"
	"coracle/group/load"
	"coracle/group/plan"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// composes tells whether the words behind are those of compose.
func composes(word string) bool { return word == "compose" || word == "group" }

// composeVerbs are docker compose's commands, below both words.
func composeVerbs() []entry {
	list := []entry{
		{newComposeUp, []string{"up"}}, {newComposeDown, []string{"down"}}, {newComposeCreate, []string{"create"}},
		{newComposeStart, []string{"start"}}, {newComposeStop, []string{"stop"}}, {newComposeRestart, []string{"restart"}},
		{newComposeKill, []string{"kill"}}, {newComposePause, []string{"pause"}}, {newComposeUnpause, []string{"unpause"}},
		{newComposeRm, []string{"rm"}}, {newComposePs, []string{"ps"}}, {newComposeLs, []string{"ls"}}, {newComposeLogs, []string{"logs"}},
		{newComposeExec, []string{"exec"}}, {newComposeRun, []string{"run"}}, {newComposePull, []string{"pull"}}, {newComposePush, []string{"push"}},
		{newComposeImages, []string{"images"}}, {newComposePort, []string{"port"}}, {newComposeCp, []string{"cp"}},
		{newComposeConfig, []string{"config"}}, {newComposeScale, []string{"scale"}}, {newComposeWait, []string{"wait"}},
		{newComposeAttach, []string{"attach"}}, {newComposeVersion, []string{"version"}},
	}
	for i, e := range list {
		list[i].spellings = []string{"compose " + e.spellings[0], "group " + e.spellings[0]}
	}
	return list
}

// project is what the words between `compose` and its command said.
type project struct {
	load.Options
	progress string
	ansi     string
	parallel int
	dryRun   bool
	all      bool // --all-resources
}

// projectFlags stand between `compose` and its command.
func projectFlags() []cli.Flag {
	progress, ansi := text("progress", "", "Set type of progress output (auto, tty, plain, json, quiet)"), text("ansi", "", `Control when to print ANSI control characters ("never"|"always"|"auto")`)
	ansi.Value = "auto"
	parallel := number("parallel", "", "Control max parallelism, -1 for unlimited")
	return []cli.Flag{
		toggle("all-resources", "", "Include all resources, even those not used by services"),
		ansi,
		toggle("compatibility", "", "Run compose in backward compatibility mode"),
		toggle("dry-run", "", "Print the plan and do nothing"),
		list("env-file", "", "Specify an alternate environment file"),
		list("file", "f", "Compose configuration files"),
		parallel,
		list("profile", "", "Specify a profile to enable"),
		progress,
		text("project-directory", "", "Specify an alternate working directory (default: the path of the first Compose file)"),
		text("project-name", "p", "Project name"),
	}
}

// composed takes the project's flags out of the words behind `compose`.
func (t *tool) composed(rest []string) ([]string, error) {
	flags, after, err := argv.Parse(known(projectFlags()), false, rest[1:])
	if err != nil {
		return nil, err
	}
	p := &project{ansi: "auto", progress: os.Getenv("COMPOSE_PROGRESS")}
	p.parallel, _ = strconv.Atoi(os.Getenv("COMPOSE_PARALLEL_LIMIT"))
	if v := os.Getenv("COMPOSE_ENV_FILES"); v != "" {
		p.EnvFiles = strings.Split(v, ",")
	}
	var named []string
	for _, f := range flags {
		name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
		p.set(name, value, &named)
	}
	if named != nil {
		p.EnvFiles = named
	}
	switch p.ansi {
	case "never", "always", "auto":
	default:
		return nil, fmt.Errorf(`unsupported --ansi value %q: it is never, always or auto`, p.ansi)
	}
	t.project = p
	return append([]string{rest[0]}, after...), nil
}

func (p *project) set(name, value string, envFiles *[]string) {
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
		p.all = yes
	case "progress":
		p.progress = value
	case "ansi":
		p.ansi = value
	case "parallel":
		p.parallel, _ = strconv.Atoi(value)
	}
}

// composeVerb is a command of compose and group.
func composeVerb(t *tool, usage, operands string, min, max int, do func(c *cli.Context, v *verb) error, flags ...cli.Flag) *verb {
	v := &verb{mixed: true, min: min, max: max}
	if t.project == nil {
		t.project = &project{ansi: "auto"}
	}
	v.Command = &cli.Command{
		Usage: usage, ArgsUsage: operands,
		Flags: append(flags, toggle("dry-run", "", "Print what would be done and do nothing")),
	}
	v.Action = func(c *cli.Context) error {
		t.project.dryRun = t.project.dryRun || c.Bool("dry-run")
		return do(c, v)
	}
	return v
}

// load reads the project's files.
func (p *project) load(ctx context.Context, t *tool, services ...string) (*load.Project, error) {
	p.Warn = t.warn
	return load.Load(ctx, p.Options, services...)
}

// known is the project's name, and its files if it has any: commands that work
// on what there is need none when -p says which.
func (p *project) known(ctx context.Context, t *tool, services ...string) (string, *load.Project, error) {
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
func (p *project) session(ctx context.Context, t *tool, title string) (s *group.Session, done func(), err error) {
	eng, err := t.engine(ctx)
	if err != nil {
		return nil, nil, err
	}
	root, run, err := engine.Places(t.options)
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
	a := act.New(live.New(eng, root, t.warn), p.parallel, show.Show)
	return &group.Session{Actor: a, Run: run, Warn: t.warn}, show.Close, nil
}

// errorSize is the size of the terminal that errors go to; nil without one.
func errorSize(t *tool) func() (rows, cols uint16) {
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
func (p *project) color(t *tool, off bool) bool {
	if off || p.ansi == "never" || os.Getenv("NO_COLOR") != "" {
		return false
	}
	f, ok := t.Out.(*os.File)
	return p.ansi == "always" || ok && term.IsTerminal(int(f.Fd()))
}

// locked does work while no other command changes the project.
func locked(ctx context.Context, t *tool, s *group.Session, name string, work func() error) error {
	release, err := s.Lock(ctx, name, func(pid string) {
		t.warn(fmt.Sprintf("another command (process %s) works on %s: waiting for it", pid, name))
	})
	if err != nil {
		return err
	}
	defer release()
	return work()
}

// observed is a command on containers that there are: it finds the project, and
// those of the named services.
func (p *project) observed(ctx context.Context, t *tool, title string, services []string, oneoffs bool) (*sight, error) {
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
		if len(state.Of(service)) == 0 {
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
func (t *tool) lastWords(err error) {
	for _, e := range causes(err) {
		if len(e.Log) == 0 {
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
