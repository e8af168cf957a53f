// Package command is coracle's command line: flags in, calls out, hints on
// errors. There is one file and one constructor for each command; [verbs] is
// the list of them.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"coracle/backends"
	"coracle/cmd/coracle/argv"
	"coracle/cmd/coracle/compose"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/urfave/cli/v2"
)

// Stdio is where a command reads and writes.
type Stdio struct {
	In  *os.File
	Out io.Writer
	Err io.Writer

	warner func(line string) // writes warnings; nil: as text
}

// verb is one command, ready to run.
type verb struct {
	*cli.Command
	spelling string // by which it was called
	mixed    bool   // flags may follow operands
	min, max int    // how many operands; max -1: no bound
	both     bool   // both bounds are said
	starts   bool   // it starts a container: our own failures are 125
	enters   bool   // it starts a program: 126 and 127 are told apart
}

// entry is a command's constructor with all its spellings, the usual one
// first. Only the command that is asked for is constructed.
type entry struct {
	make      func(*tool) *verb
	spellings []string
}

func verbs() []entry {
	list := []entry{
		{newRun, []string{"run", "container run"}},
		{newExec, []string{"exec", "container exec"}},
		{newPs, []string{"ps", "container ls", "container list", "container ps"}},
		{newLogs, []string{"logs", "container logs"}},
		{newStop, []string{"stop", "container stop"}},
		{newKill, []string{"kill", "container kill"}},
		{newStart, []string{"start", "container start"}},
		{newWait, []string{"wait", "container wait"}},
		{newRestart, []string{"restart", "container restart"}},
		{newPause, []string{"pause", "container pause"}},
		{newUnpause, []string{"unpause", "container unpause"}},
		{newRename, []string{"rename", "container rename"}},
		{newUpdate, []string{"update", "container update"}},
		{newEvents, []string{"events", "system events"}},
		{newTop, []string{"top", "container top"}},
		{newStats, []string{"stats", "container stats"}},
		{newContainerPrune, []string{"container prune"}},
		{newBoot, []string{"boot"}},
		{newRm, []string{"rm", "container rm", "container remove"}},
		{newInspect, []string{"inspect"}},
		{newContainerInspect, []string{"container inspect"}},
		{newImageInspect, []string{"image inspect"}},
		{newCreate, []string{"create", "container create"}},
		{newAttach, []string{"attach", "container attach"}},
		{newDiff, []string{"diff", "container diff"}},
		{newCommit, []string{"commit", "container commit"}},
		{newCp, []string{"cp", "container cp"}},
		{newExport, []string{"export", "container export"}},
		{newImages, []string{"images", "image ls", "image list"}},
		{newImagePrune, []string{"image prune"}},
		{newVerify, []string{"image verify"}},
		{newDf, []string{"system df"}},
		{newSystemPrune, []string{"system prune"}},
		{newImport, []string{"import", "image import"}},
		{newLoad, []string{"load", "image load"}},
		{newSave, []string{"save", "image save"}},
		{newHistory, []string{"history", "image history"}},
		{newPull, []string{"pull", "image pull"}},
		{newPush, []string{"push", "image push"}},
		{newLogin, []string{"login"}},
		{newLogout, []string{"logout"}},
		{newManifestInspect, []string{"manifest inspect"}},
		{newRmi, []string{"rmi", "image rm", "image remove"}},
		{newTag, []string{"tag", "image tag"}},
		{newVolumeCreate, []string{"volume create"}},
		{newVolumeInspect, []string{"volume inspect"}},
		{newVolumeLs, []string{"volume ls", "volume list"}},
		{newVolumePrune, []string{"volume prune"}},
		{newVolumeRm, []string{"volume rm", "volume remove"}},
		{newMatrix, []string{"matrix"}},
		{newPlatformLs, []string{"platform ls", "platform list"}},
		{newPlatformAdd, []string{"platform add"}},
		{newPlatformRm, []string{"platform rm", "platform remove"}},
		{newSuperviseRun, []string{"supervise run"}},
		{newSuperviseGenerate, []string{"supervise generate"}},
		{newSuperviseInstall, []string{"supervise install"}},
		{newSuperviseRemove, []string{"supervise remove", "supervise rm"}},
		{newSuperviseStatus, []string{"supervise status", "supervise ls"}},
		{newPort, []string{"port", "container port"}},
		{newNetworkCreate, []string{"network create"}},
		{newNetworkLs, []string{"network ls", "network list"}},
		{newNetworkInspect, []string{"network inspect"}},
		{newNetworkRm, []string{"network rm", "network remove"}},
		{newNetworkPrune, []string{"network prune"}},
		{newNetworkConnect, []string{"network connect"}},
		{newNetworkDisconnect, []string{"network disconnect"}},
		{newNetTrace, []string{"net trace"}},
		{newProbe, []string{"probe"}},
		{newInfo, []string{"info", "system info"}},
		{newVersion, []string{"version"}},
		{newCompletion, []string{"completion"}},
		{newInstall, []string{"install"}},
		{newUninstall, []string{"uninstall"}},
	}
	return append(list, composeVerbs()...)
}

// tool is one run of the program.
type tool struct {
	Stdio
	spelling string // of the command, without the program's name
	options  engine.Options
	debug    bool
	open     *engine.Engine
	project  *compose.Project // of compose and group
}

// engine opens the engine at the first call.
func (t *tool) engine(ctx context.Context) (*engine.Engine, error) {
	if t.open != nil {
		return t.open, nil
	}
	e, err := engine.Open(ctx, t.options)
	if err == nil {
		t.open = e
	}
	return e, err
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", EnvVars: []string{"CORACLE_ROOT"}, Usage: "`dir` Where images and containers are kept"},
		&cli.StringFlag{Name: "run", EnvVars: []string{"CORACLE_RUN"}, Usage: "`dir` Where is kept what does not outlive a boot"},
		&cli.StringSliceFlag{Name: "backend", KeepSpace: true, Usage: "`wish` Rungs to take, by name: rootfs=copy,isolation=chroot (environment: CORACLE_BACKEND)"},
		&cli.StringFlag{Name: "config", Usage: "Location of client config files (environment: DOCKER_CONFIG)"},
		&cli.BoolFlag{Name: "strict", EnvVars: []string{"CORACLE_STRICT"}, Usage: "Fail where a rung cannot honour an option, instead of warning"},
		&cli.BoolFlag{Name: "debug", Aliases: []string{"D"}, Usage: "Print what an error was made of"},
		&cli.StringFlag{Name: "log-level", Aliases: []string{"l"}, Value: "info", Usage: `Which messages to print ("debug", "info", "warn", "error", "fatal")`},
		&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "Print version information and quit"},
	}
}

// Run runs the command line args (args[0] is the program) and returns the exit
// code.
func Run(ctx context.Context, stdio Stdio, args []string) int {
	t := &tool{Stdio: stdio}
	globals, rest, err := argv.Parse(known(globalFlags()), false, args[1:])
	if len(rest) > 0 && err == nil && rest[0] == "help" {
		rest, err = rest[1:], argv.ErrHelp
	}
	switch {
	case errors.Is(err, argv.ErrHelp):
		return t.help(rest)
	case err != nil:
		return t.fail(nil, usage("", refusal("", err)))
	case slices.Contains(globals, "--version=true"):
		printShortVersion(t.Out)
		return 0
	case len(rest) == 0:
		return t.help(nil)
	}
	if compose.Is(rest[0]) {
		switch rest, err = composed(t, globals, rest); {
		case errors.Is(err, argv.ErrHelp):
			return t.help([]string{"compose"})
		case err != nil:
			return t.fail(nil, usage("compose", refusal("", err)))
		}
	}
	e, spelling, operands := find(rest)
	if e == nil {
		if g := family(rest[0]); g != "" && (len(rest) == 1 || rest[1] == "--help" || rest[1] == "-h") {
			return t.help(rest[:1])
		}
		return t.fail(nil, unknownCommand(rest))
	}
	t.spelling = spelling
	return t.run(ctx, e, globals, operands)
}

func (t *tool) run(ctx context.Context, e *entry, globals, args []string) int {
	v := e.make(t)
	v.spelling = t.spelling
	flags, operands, err := argv.Parse(known(v.Flags), v.mixed, args)
	if errors.Is(err, argv.ErrHelp) {
		t.printHelp(e, v)
		return 0
	}
	if err != nil {
		return t.fail(v, usage(t.spelling, refusal(t.spelling, err)))
	}
	if err := v.arity(len(operands)); err != nil {
		return t.fail(v, err)
	}
	words := strings.Split(t.spelling, " ")
	line := append([]string{"coracle"}, globals...)
	line = append(append(line, words...), flags...)
	line = append(append(line, "--"), operands...)
	v.Flags = needed(v.Flags, flags)
	app := t.app(v, words)
	app.Flags = needed(app.Flags, globals)
	return t.fail(v, app.RunContext(ctx, line))
}

// needed leaves out the flags that were not given and whose value is the zero
// value: the parser compares each of its flags with each other through a
// regular expression, 0.5 ms with the flags of run.
func needed(flags []cli.Flag, given []string) []cli.Flag {
	var keep []cli.Flag
	for _, f := range flags {
		name := "--" + f.Names()[0] + "="
		d, ok := f.(cli.DocGenerationFlag)
		if ok && slices.ContainsFunc(d.GetEnvVars(), func(v string) bool { return os.Getenv(v) != "" }) ||
			slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(g, name) }) || preset(f) {
			keep = append(keep, f)
		}
	}
	return keep
}

// preset tells whether f has a value when it is not given.
func preset(f cli.Flag) bool {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return f.Value
	case *cli.IntFlag:
		return f.Value != 0
	case *cli.StringFlag:
		return f.Value != ""
	}
	return false
}

// app is the parser's view of one command.
func (t *tool) app(v *verb, words []string) *cli.App {
	v.Name, v.HideHelp = words[len(words)-1], true
	cmd := v.Command
	if len(words) > 1 {
		cmd = &cli.Command{Name: words[0], HideHelp: true, Subcommands: []*cli.Command{cmd}}
	}
	// With the help flag, `run -h true` would print help: -h is --hostname.
	cli.HelpFlag = nil
	return &cli.App{
		Name: "coracle", Usage: tagline, HideHelp: true, HideVersion: true,
		DisableSliceFlagSeparator: true,
		Flags:                     globalFlags(),
		Before:                    t.globals,
		Commands:                  []*cli.Command{cmd},
		Reader:                    t.In, Writer: t.Out, ErrWriter: t.Err,
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

const tagline = "Run containers on any Linux, with one file and no daemon"

func (t *tool) globals(c *cli.Context) error {
	if dir := c.String("config"); dir != "" {
		os.Setenv("DOCKER_CONFIG", dir)
	}
	t.debug = c.Bool("debug") || c.String("log-level") == "debug"
	wish, err := backends.MergeWish(os.Getenv("CORACLE_BACKEND"), c.StringSlice("backend")...)
	if err != nil {
		return usage("", err)
	}
	level := c.String("log-level")
	switch level {
	case "debug", "info", "warn", "error", "fatal":
	default:
		return usage("", fmt.Errorf("unable to parse logging level: %s", level))
	}
	t.options = engine.Options{Root: c.String("root"), Run: c.String("run"), Wish: wish, Strict: c.Bool("strict")}
	if level != "error" && level != "fatal" {
		t.options.Warn = t.warn
	}
	return nil
}

func (s Stdio) warn(line string) {
	if s.warner != nil {
		s.warner(line)
		return
	}
	fmt.Fprintln(s.Err, "WARNING: "+line)
}

// find returns the command that words begin with, and what follows its name.
func find(words []string) (*entry, string, []string) {
	for _, e := range verbs() {
		for _, s := range e.spellings {
			first, second, two := strings.Cut(s, " ")
			if words[0] != first || two && (len(words) < 2 || words[1] != second) {
				continue
			}
			if two {
				return &e, s, words[2:]
			}
			return &e, s, words[1:]
		}
	}
	return nil, "", nil
}

// group says what the commands below a word are about; "" for no such group.
func family(word string) string {
	switch word {
	case "container":
		return "Manage containers"
	case "compose":
		return "Define and run multi-container applications with Docker's Compose files"
	case "group":
		return "Run several containers as one, from a Compose file or from a script"
	case "image":
		return "Manage images"
	case "manifest":
		return "Look at image manifests and manifest lists"
	case "net":
		return "Look at how containers are wired"
	case "network":
		return "Manage networks"
	case "platform":
		return "Manage what runs programs of other architectures"
	case "supervise":
		return "Run containers under the machine's own process supervisor"
	case "system":
		return "Manage coracle"
	case "volume":
		return "Manage volumes"
	}
	return ""
}

// known tells the normaliser of flags.
func known(flags []cli.Flag) []argv.Flag {
	all := make([]argv.Flag, 0, len(flags))
	for _, f := range flags {
		names := f.Names()
		k := argv.Flag{Name: names[0]}
		if len(names) > 1 && len(names[1]) == 1 {
			k.Short = names[1][0]
		}
		switch f.(type) {
		case *cli.BoolFlag:
			k.Kind = argv.Bool
		case *cli.IntFlag:
			k.Kind = argv.Int
		}
		all = append(all, k)
	}
	return all
}

// list is a flag that may be given more than once; its values stay as they are.
func list(name, short, usage string) *cli.StringSliceFlag { return opts.List(name, short, usage) }

func text(name, short, usage string) *cli.StringFlag { return opts.Text(name, short, usage) }

func number(name, short, usage string) *cli.IntFlag { return opts.Number(name, short, usage) }

func toggle(name, short, usage string) *cli.BoolFlag { return opts.Toggle(name, short, usage) }
