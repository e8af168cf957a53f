package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"coracle/backends"
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
			}{report, choice})
		}
		printReport(t.Out, report)
		printChoices(t.Out, choice)
		return nil
	}
	return v
}

func (t *tool) findings(ctx context.Context, refresh bool) (*probe.Report, *backends.Selection, error) {
	eng, err := t.engine(ctx)
	if err != nil {
		return nil, nil, err
	}
	return eng.Report(), eng.Selection(), nil
}

func (t *tool) check(r *probe.Report, names []string) error {
	code := 0
	for _, name := range names {
		f := probe.Feature(name)
		if _, ok := r.Results[f]; !ok {
			fmt.Fprintf(t.Err, "coracle: unknown feature: %s\nhint: 'coracle probe' lists the features\n", name)
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

// section is one group of features in the table.
type section struct {
	title    string
	features []probe.Feature
}

// sections sorts what was found into groups by the features' names.
func sections(r *probe.Report) []section {
	all := []section{
		{title: "user"}, {title: "namespaces"}, {title: "root and mounts"}, {title: "filesystems"},
		{title: "cgroup v2"}, {title: "cgroup v1"}, {title: "confinement"}, {title: "system calls"},
		{title: "network"}, {title: "other"},
	}
	var names []probe.Feature
	for f := range r.Results {
		names = append(names, f)
	}
	slices.Sort(names)
	for _, f := range names {
		s := &all[place(string(f))]
		s.features = append(s.features, f)
	}
	return all
}

func place(f string) int {
	first, _, _ := strings.Cut(f, ".")
	switch first {
	case "root":
		return 0
	case "ns":
		return 1
	case "chroot", "pivot_root", "mount", "devpts":
		return 2
	case "overlay", "aufs", "reflink", "xattr":
		return 3
	case "cgroup2":
		return 4
	case "cgroup1":
		return 5
	case "seccomp", "no_new_privs", "caps", "apparmor", "selinux":
		return 6
	case "pidfd", "openat2", "o_path", "memfd", "subreaper":
		return 7
	case "net":
		return 8
	}
	return 9
}

func printReport(w io.Writer, r *probe.Report) {
	fmt.Fprintf(w, "kernel %s on %s, uid %d, init %s, state directory %s\n", r.Kernel, r.Arch, r.UID, r.Init, r.StateDir)
	for _, s := range sections(r) {
		if len(s.features) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", s.title)
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, f := range s.features {
			res := r.Get(f)
			fmt.Fprintf(tw, "  %s\t%s\t%s\n", f, word(res.State), outcome(res))
		}
		tw.Flush()
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
	if s == "" {
		s = map[probe.State]string{probe.No: "does not work", probe.Unknown: "could not be told"}[res.State]
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
