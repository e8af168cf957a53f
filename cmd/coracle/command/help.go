package command

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"coracle/cmd/coracle/compose"

	"github.com/urfave/cli/v2"
)

// help prints the page of the command, the group or the program that words
// name.
func (t *tool) help(words []string) int {
	if len(words) == 0 {
		t.overview("", "coracle [OPTIONS] COMMAND [ARG...]", tagline)
		fmt.Fprintf(t.Out, "\nGlobal Options:\n")
		printFlags(t.Out, globalFlags())
		fmt.Fprintf(t.Out, "\n%s\nRun 'coracle COMMAND --help' for more information on a command.\n", ExitCodes)
		return 0
	}
	if e, spelling, _ := find(words); e != nil {
		t.spelling = spelling
		t.printHelp(e, e.make(t))
		return 0
	}
	if g := family(words[0]); g != "" {
		t.overview(words[0], "coracle "+words[0]+" COMMAND", g)
		if compose.Is(words[0]) {
			fmt.Fprintf(t.Out, "\nOptions, before the command:\n")
			printFlags(t.Out, compose.Flags())
		}
		fmt.Fprintf(t.Out, "\nRun 'coracle %s COMMAND --help' for more information on a command.\n", words[0])
		return 0
	}
	return t.fail(nil, unknownCommand(words))
}

// ExitCodes is the table of them, as the help prints it.
const ExitCodes = `Exit codes:
  0     done
  1     the command failed
  64    a template of inspect cannot be read
  125   the command line is wrong, or run could not start a container
  126   the container's program cannot be executed
  127   the container's program was not found
  128+N the container's program was ended by signal N
  else  the container's program ended with that code
`

// overview lists the commands of a group, or, for "", the plain ones.
func (t *tool) overview(group, usage, about string) {
	fmt.Fprintf(t.Out, "Usage:  %s\n\n%s\n\nCommands:\n", usage, about)
	for _, e := range verbs() {
		for _, s := range e.spellings {
			first, second, two := strings.Cut(s, " ")
			if group == "" && !two {
				fmt.Fprintf(t.Out, "  %-10s  %s\n", s, e.make(t).Usage)
			} else if two && first == group {
				fmt.Fprintf(t.Out, "  %-10s  %s\n", second, e.make(t).Usage)
				break // the other spellings are aliases
			}
		}
	}
}

func (t *tool) printHelp(e *entry, v *verb) {
	fmt.Fprintf(t.Out, "Usage:  %s\n\n%s\n", synopsis(t.spelling, v), v.Usage)
	if len(e.spellings) > 1 {
		all := make([]string, len(e.spellings))
		for i, s := range e.spellings {
			all[i] = "coracle " + s
		}
		fmt.Fprintf(t.Out, "\nAliases:\n  %s\n", strings.Join(all, ", "))
	}
	if v.Description != "" {
		fmt.Fprintf(t.Out, "\n%s\n", v.Description)
	}
	if len(v.Flags) > 0 {
		fmt.Fprintf(t.Out, "\nOptions:\n")
		printFlags(t.Out, v.Flags)
	}
}

func synopsis(spelling string, v *verb) string {
	s := "coracle " + spelling
	if len(v.Flags) > 0 {
		s += " [OPTIONS]"
	}
	return strings.TrimSpace(s + " " + v.ArgsUsage)
}

// FlagDoc is what is to be said of one flag.
type FlagDoc struct {
	Name, Short string // without dashes
	Value       string // what kind of value; "" for a switch
	Usage       string
	Env         []string
}

// describe reads f's documentation. A usage may begin with the value's kind in
// backquotes.
func describe(f cli.Flag) FlagDoc {
	d := FlagDoc{Name: f.Names()[0]}
	if names := f.Names(); len(names) > 1 && len(names[1]) == 1 {
		d.Short = names[1]
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		d.Usage, d.Env = f.Usage, f.EnvVars
		if f.Value {
			d.Usage += " (default true)"
		}
	case *cli.IntFlag:
		d.Usage, d.Value = f.Usage, "int"
	case *cli.StringSliceFlag:
		d.Usage, d.Value = f.Usage, "list"
	case *cli.StringFlag:
		d.Usage, d.Value, d.Env = f.Usage, "string", f.EnvVars
		if f.Value != "" {
			d.Usage += fmt.Sprintf(" (default %q)", f.Value)
		}
	}
	if rest, ok := strings.CutPrefix(d.Usage, "`"); ok {
		if kind, usage, ok := strings.Cut(rest, "` "); ok {
			d.Value, d.Usage = kind, usage
		}
	}
	return d
}

// describeAll reads the documentation of all flags that are shown, by name.
func describeAll(flags []cli.Flag) []FlagDoc {
	var docs []FlagDoc
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
			docs = append(docs, describe(f))
		}
	}
	slices.SortFunc(docs, func(a, b FlagDoc) int { return strings.Compare(a.Name, b.Name) })
	return docs
}

// Title is the flag as the help shows it: "-m, --memory bytes".
func (d FlagDoc) Title() string {
	s := "    --" + d.Name
	if d.Short != "" {
		s = "-" + d.Short + ", --" + d.Name
	}
	if d.Value != "" {
		s += " " + d.Value
	}
	return s
}

func printFlags(w io.Writer, flags []cli.Flag) {
	docs := describeAll(flags)
	width := 0
	for _, d := range docs {
		width = max(width, len(d.Title()))
	}
	for _, d := range docs {
		usage := d.Usage
		if len(d.Env) > 0 {
			usage += " [$" + strings.Join(d.Env, ", $") + "]"
		}
		fmt.Fprintf(w, "  %-*s   %s\n", width, d.Title(), usage)
	}
}

// Doc is what is to be said of one command.
type Doc struct {
	Spellings   []string // the usual one first
	Synopsis    string
	Operands    string
	Usage       string
	Description string
	Flags       []FlagDoc
}

// Docs describes all commands, for the generated reference.
func Docs() (globals []FlagDoc, commands []Doc) {
	globals = describeAll(globalFlags())
	for _, e := range verbs() {
		v := e.make(&tool{spelling: e.spellings[0]})
		commands = append(commands, Doc{
			Spellings: e.spellings, Synopsis: synopsis(e.spellings[0], v), Operands: v.ArgsUsage,
			Usage: v.Usage, Description: v.Description, Flags: describeAll(v.Flags),
		})
	}
	return globals, commands
}
