package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"coracle/backends"
	"coracle/backends/emulate"
	"coracle/engine"
	"coracle/probe"

	"github.com/urfave/cli/v2"
)

func newProbe(t *tool) *verb {
	v := &verb{mixed: true, max: -1}
	v.Command = &cli.Command{
		Usage:     "Show what this machine can do, and what coracle makes of it",
		ArgsUsage: "[FEATURE...]",
		Description: "With --check, exits 0 when every FEATURE named works, 1 when one does not, and 2 for the\n" +
			"name of no feature; what does not work is named on standard error.",
		Flags: []cli.Flag{
			toggle("check", "", "Only answer, by the exit code, whether the features work"),
			toggle("json", "", "Print all findings and choices as JSON"),
			toggle("refresh", "", "Try everything anew instead of reading what was found since the boot"),
		},
	}
	v.Action = func(c *cli.Context) error {
		if c.Bool("check") != (c.NArg() > 0) {
			return &usageError{"probe", fmt.Errorf("--check and the names of features go together"), 1}
		}
		report, choice, err := t.findings(c.Context, c.Bool("refresh"))
		if err != nil {
			return err
		}
		switch {
		case c.Bool("check"):
			return t.check(report, c.Args().Slice())
		case c.Bool("json"):
			enc := json.NewEncoder(t.Out)
			enc.SetIndent("", "  ")
			return enc.Encode(struct {
				*probe.Report
				*backends.Selection
				Platforms []emulate.Way `json:"platforms"`
			}{report, choice, engine.Platforms(report.StateDir, report, choice)})
		}
		printReport(t.Out, report)
		printChoices(t.Out, choice)
		fmt.Fprint(t.Out, "\nplatforms\n")
		printPlatforms(t.Out, engine.Platforms(report.StateDir, report, choice))
		return nil
	}
	return v
}

func (t *tool) findings(ctx context.Context, refresh bool) (*probe.Report, *backends.Selection, error) {
	// Not by way of the engine: what works here is wanted most where a
	// container cannot be had.
	root, run, err := engine.Places(t.options)
	if err != nil {
		return nil, nil, err
	}
	report, err := probe.Run(ctx, probe.Options{StateDir: root, RunDir: run, Refresh: refresh})
	if err != nil {
		return nil, nil, err
	}
	choice, err := backends.Select(report, t.options.Wish)
	return report, choice, err
}

func (t *tool) check(r *probe.Report, names []string) error {
	code := 0
	for _, name := range names {
		f, err := probe.Parse(name)
		if err != nil {
			t.complain(err)
			return status(2)
		}
		if res := r.Get(f); res.State != probe.Yes {
			fmt.Fprintf(t.Err, "coracle: %s: %s\n", name, outcome(res))
			code = 1
		}
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

func printReport(w io.Writer, r *probe.Report) {
	fmt.Fprintf(w, "kernel %s on %s, uid %d, init %s, state directory %s\n", r.Kernel, r.Arch, r.UID, r.Init, r.StateDir)
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	for _, g := range probe.Groups() {
		// One table of cells: an empty line would end the columns.
		fmt.Fprintf(tw, "\t\t\t\n%s\t\t\t\n", g.Title)
		for _, f := range g.Features {
			res := r.Get(f.Feature)
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", f.Feature, f.Title, word(res.State), outcome(res))
		}
	}
	tw.Flush()
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}

func word(s probe.State) string {
	switch s {
	case probe.Yes:
		return "yes"
	case probe.No:
		return "no"
	}
	return "?"
}

// outcome is what there is to say of one finding: a detail, or why not and
// what would mend it.
func outcome(res probe.Result) string {
	if res.State == probe.Yes {
		return res.Detail
	}
	s := res.Why
	if s == "" && res.State == probe.Unknown {
		s = "could not be told"
	}
	if res.Mend != "" {
		s += "; to mend: " + res.Mend
	}
	return s
}

func printChoices(w io.Writer, s *backends.Selection) {
	if s == nil {
		return
	}
	fmt.Fprintf(w, "\nwhat coracle takes\n")
	for _, c := range s.Choices {
		rung := c.Rung
		if rung == "" {
			rung = "nothing"
		}
		asked := ""
		if c.Asked {
			asked = " (asked for)"
		}
		fmt.Fprintf(w, "  %-10s %s%s", c.Concern, rung, asked)
		if c.Gives != "" {
			fmt.Fprintf(w, ": %s", c.Gives)
		}
		fmt.Fprintln(w)
		for _, r := range c.Refused {
			fmt.Fprintf(w, "             not %s: %s", r.Rung, r.Why)
			if r.Feature != "" {
				fmt.Fprintf(w, " [%s]", r.Feature)
			}
			if r.Mend != "" {
				fmt.Fprintf(w, "; to mend: %s", r.Mend)
			}
			fmt.Fprintln(w)
		}
		for _, l := range c.Lacks {
			fmt.Fprintf(w, "             without: %s\n", l)
		}
	}
}
