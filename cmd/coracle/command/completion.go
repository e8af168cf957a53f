package command

import (
	"strings"

	"coracle/cmd/coracle/completion"

	"github.com/urfave/cli/v2"
)

func newCompletion(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	v.Command = &cli.Command{
		Usage:     "Print the completion script for a shell",
		ArgsUsage: strings.Join(completion.Shells(), "|"),
		Description: "Load it into the running shell, or let 'coracle install' put all of them in place:\n\n" +
			"    source <(coracle completion bash)\n    source <(coracle completion zsh)\n    coracle completion fish | source",
	}
	v.Action = func(c *cli.Context) error {
		return completion.Write(t.Out, c.Args().First(), completionTree())
	}
	return v
}

// completionTree is the tree of commands, as the shells are told.
func completionTree() completion.Program {
	globals, commands := Docs()
	p := completion.Program{Globals: completionFlags(globals)}
	for _, c := range commands {
		p.Commands = append(p.Commands, completion.Command{
			Spellings: c.Spellings, Usage: c.Usage, Operands: c.Operands, Flags: completionFlags(c.Flags),
		})
	}
	return p
}

func completionFlags(docs []FlagDoc) []completion.Flag {
	flags := make([]completion.Flag, len(docs))
	for i, d := range docs {
		flags[i] = completion.Flag{Name: d.Name, Short: d.Short, Value: d.Value, Usage: d.Usage}
	}
	return flags
}
