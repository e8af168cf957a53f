// Package compose is the commands of `coracle compose` and `coracle group`,
// with docker compose's names, flags, output and exit codes. The work is package
// group's; what the program gives every command comes as a Tool.
package compose

import (
	"context"
	"io"
	"os"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/engine/changes"

	"github.com/moby/moby/api/types/volume"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Tool is what the program gives a command.
type Tool struct {
	In       *os.File
	Out, Err io.Writer
	Engine   func(ctx context.Context) (*engine.Engine, error)
	Options  func() engine.Options
	Warn     func(line string)
	// Streams are our ends of a container's streams.
	Streams       func(a Attachment) (engine.Streams, func(), error)
	Interruptible func(ctx context.Context) (context.Context, context.CancelFunc)
	Display       func(w io.Writer, quiet bool) (func(engine.PullEvent), func())
	OnFiles       func(c *cli.Context, ref string, do func(ctx context.Context, f *changes.Files) error) error
	// Stats shows what containers use.
	Stats func(c *cli.Context, refs []string) error
	// Commit makes an image of a container, Export writes its files, Volumes lists
	// some: each by the flags of c.
	Commit  func(c *cli.Context, ref, image string) (id string, err error)
	Export  func(c *cli.Context, ref string) error
	Volumes func(c *cli.Context, list []*volume.Volume) error
	// Side splits CONTAINER:PATH.
	Side func(arg string) (container, path string)
	// Exit is an exit code as an error; Bad a flag's value that cannot be read.
	Exit func(code int) error
	Bad  func(flags []cli.Flag, name, value string, err error) error

	// Scripting: the command was called by `group`, so that `create NAME` makes a
	// group without files.
	Scripting bool

	project *Project
}

// Attachment says which of our streams a container gets.
type Attachment struct {
	Stdin, Stdout, Stderr bool
	Terminal              bool
	Signals               bool
	Keys                  []byte
}

// Verb is one command.
type Verb struct {
	*cli.Command
	Mixed    bool // flags may follow operands
	Min, Max int  // how many operands; Max -1: no bound
	Starts   bool // it starts a container
	Enters   bool // it starts a program
}

// Entry is a command's name and its constructor.
type Entry struct {
	Name string
	Make func(t *Tool) *Verb
}

// Is tells whether the words behind are commands of compose.
func Is(word string) bool { return word == "compose" || word == "group" }

// Verbs are the commands, in the order of the help.
func Verbs() []Entry {
	return []Entry{
		{"up", newUp}, {"down", newDown}, {"create", newCreate}, {"start", newStart}, {"stop", newStop}, {"restart", newRestart},
		{"kill", newKill}, {"pause", newPause}, {"unpause", newUnpause}, {"rm", newRm}, {"ps", newPs}, {"ls", newLs},
		{"logs", newLogs}, {"exec", newExec}, {"run", newRun}, {"pull", newPull}, {"push", newPush}, {"images", newImages},
		{"port", newPort}, {"top", newTop}, {"stats", newStats}, {"events", newEvents}, {"cp", newCp}, {"config", newConfig}, {"scale", newScale}, {"wait", newWait}, {"attach", newAttach},
		{"commit", newCommit}, {"export", newFilesExport}, {"volumes", newVolumes},
		{"version", newVersion},
	}
}

// Under sets the project that the flags before the command named.
func (t *Tool) Under(p *Project) { t.project = p }

func (t *Tool) ended(code int, err error) error {
	if err != nil || code == 0 {
		return err
	}
	return t.Exit(code)
}

// terminals tells whether both input and output are one.
func (t *Tool) terminals() bool {
	f, ok := t.Out.(*os.File)
	return ok && t.In != nil && term.IsTerminal(int(t.In.Fd())) && term.IsTerminal(int(f.Fd()))
}

// composeVerb is a command of compose and group.
func composeVerb(t *Tool, usage, operands string, min, max int, do func(c *cli.Context, v *Verb) error, more ...cli.Flag) *Verb {
	v := &Verb{Mixed: true, Min: min, Max: max}
	if t.project == nil {
		t.project = &Project{ansi: "auto"}
	}
	v.Command = &cli.Command{
		Usage: usage, ArgsUsage: operands,
		Flags: append(more, opts.Toggle("dry-run", "", "Print what would be done and do nothing")),
	}
	v.Action = func(c *cli.Context) error {
		t.project.dryRun = t.project.dryRun || c.Bool("dry-run")
		return do(c, v)
	}
	return v
}
