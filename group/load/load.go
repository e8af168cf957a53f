// Package load reads Compose files into a project. compose-go does the work;
// this package bounds what it is given, says in one line what is wrong with a
// file, and names what a file asks for and nobody honours. It makes no
// container: package group does.
package load

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/compose-spec/compose-go/v2/utils"
	"github.com/sirupsen/logrus"
)

// Options are what the command line says of the files.
type Options struct {
	Files      []string // -f; "-" is the standard input
	Name       string   // -p
	Directory  string   // --project-directory
	EnvFiles   []string
	Profiles   []string
	Compatible bool // names with "_"
	All        bool // networks and volumes too that no service uses
	Stdin      io.Reader
	Warn       func(string)

	// What `config` can leave out.
	NoInterpolate, NoNormalize, NoConsistency, NoPaths, NoEnvironment bool
}

// Project is a project with what only the command line knows of it.
type Project struct {
	*types.Project
	EnvFiles  []string
	Separator string // between the words of a container's name
}

// ErrNoFile says that no file was named and none was found.
var ErrNoFile = errors.New("no configuration file provided: not found")

// Load reads the project of the files, or of those that the current directory
// or one above it has, with the services enabled.
func Load(ctx context.Context, o Options, services ...string) (*Project, error) {
	o.listen()
	po, err := o.options()
	if err != nil {
		return nil, explain(err)
	}
	project, err := po.LoadProject(ctx)
	if err != nil {
		return nil, explain(err)
	}
	if project.Name == "" {
		return nil, errors.New("project name can't be empty. Use `--project-name` to set a valid name")
	}
	p := &Project{Project: project, EnvFiles: o.EnvFiles, Separator: "-"}
	if o.Compatible || utils.StringToBool(project.Environment["COMPOSE_COMPATIBILITY"]) {
		p.Separator = "_"
	}
	if err := p.narrow(services); err != nil {
		return nil, explain(err)
	}
	if !o.All {
		p.Project = p.WithoutUnnecessaryResources()
	}
	if !o.NoConsistency {
		if err := project.CheckContainerNameUnicity(); err != nil {
			return nil, explain(err)
		}
	}
	return p, nil
}

// Model reads the files and leaves variables as they stand.
func Model(ctx context.Context, o Options) (map[string]any, error) {
	o.listen()
	po, err := o.options()
	if err != nil {
		return nil, explain(err)
	}
	m, err := po.LoadModel(ctx)
	return m, explain(err)
}

// narrow enables the services that were named, whatever their profiles.
func (p *Project) narrow(services []string) error {
	project, err := p.WithServicesEnabled(services...)
	if err == nil {
		p.Project = project
	}
	return err
}

// Select keeps the named services, and what they depend on if deps.
func (p *Project) Select(services []string, deps bool) error {
	if len(services) == 0 {
		return nil
	}
	with := types.IncludeDependencies
	if !deps {
		with = types.IgnoreDependencies
	}
	project, err := p.WithSelectedServices(services, with)
	if err != nil {
		return explain(err)
	}
	p.Project = project
	return nil
}

// options are compose-go's, in the order in which docker compose applies them.
func (o *Options) options() (*cli.ProjectOptions, error) {
	files := slices.Clone(o.Files)
	steps := []cli.ProjectOptionsFn{
		cli.WithWorkingDirectory(o.Directory),
		cli.WithOsEnv, // the environment wins over .env
	}
	if wd, err := os.Getwd(); os.Getenv("PWD") == "" && err == nil {
		steps = append(steps, cli.WithEnv([]string{"PWD=" + wd}))
	}
	steps = append(steps,
		cli.WithEnvFiles(o.EnvFiles...), cli.WithDotEnv,
		cli.WithConfigFileEnv, cli.WithDefaultConfigPath, guard,
		// --project-directory may have another .env
		cli.WithEnvFiles(o.EnvFiles...), cli.WithDotEnv,
		cli.WithDefaultProfiles(o.Profiles...), cli.WithName(o.Name),
		cli.WithInterpolation(!o.NoInterpolate), cli.WithResolvedPaths(!o.NoPaths),
		cli.WithNormalization(!o.NoNormalize), cli.WithConsistency(!o.NoConsistency),
		cli.WithDiscardEnvFile,
		cli.WithLoadOptions(loader.WithUnsupportedAttributesCheck(ignored(), o.report)),
	)
	if o.NoEnvironment {
		steps = append(steps, cli.WithoutEnvironmentResolution)
	}
	return cli.NewProjectOptions(files, steps...)
}

func (o *Options) report(found []loader.UnsupportedAttribute) {
	for _, f := range found {
		o.warn(string(f.Path) + ": not honoured" + why(f))
	}
}

func (o *Options) warn(line string) {
	if o.Warn != nil {
		o.Warn(line)
	}
}

// listener is where compose-go's warnings go; it only knows the logger of the
// whole program.
var listener struct {
	sync.Mutex
	once sync.Once
	warn func(string)
}

type hook struct{}

func (hook) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel, logrus.ErrorLevel} }

func (hook) Fire(e *logrus.Entry) error {
	listener.Lock()
	defer listener.Unlock()
	if listener.warn != nil {
		listener.warn(e.Message)
	}
	return nil
}

func (o *Options) listen() {
	listener.Lock()
	listener.warn = o.Warn
	listener.Unlock()
	listener.once.Do(func() {
		logrus.SetOutput(io.Discard)
		logrus.AddHook(hook{})
		formats()
	})
}
