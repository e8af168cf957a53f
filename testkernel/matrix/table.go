package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// say prints what is worth reading of one kernel.
func (m *matrix) say(r result) {
	state := "ok"
	if len(r.Problems) > 0 {
		state = "FAILED"
	}
	if r.Cached {
		state += ", as before"
	}
	fmt.Fprintf(m.out, "=== kernel %s (%s): %s, %.0f s, %.0f s of processors\n", r.Kernel.Name, r.Version, state, r.Seconds, r.Spent.Seconds())
	for _, o := range r.Outcomes {
		fmt.Fprintf(m.out, "    %-40s %3d passed %2d failed %2d skipped %5.1f s\n", o.Step, o.Passed, len(o.Failed), len(o.Skipped), o.Seconds)
		if !o.ok() && !m.verbose {
			for _, line := range o.Lines[max(0, len(o.Lines)-120):] {
				fmt.Fprintln(m.out, "    | "+line)
			}
		}
	}
	for _, line := range reasons(r) {
		fmt.Fprintln(m.out, "    skipped:", line)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(m.out, "   ", p)
	}
}

// reasons are those of skips, with the number of tests that gave each.
func reasons(r result) []string {
	count := map[string]int{}
	for _, o := range r.Outcomes {
		for _, s := range o.Skipped {
			count[s.Why]++
		}
	}
	var out []string
	for why, n := range count {
		out = append(out, fmt.Sprintf("%d × %s", n, why))
	}
	slices.Sort(out)
	return out
}

// row is a line of the table.
func row(r result) []string {
	passed, failed, skipped := 0, 0, 0
	for _, o := range r.Outcomes {
		passed, failed, skipped = passed+o.Passed, failed+len(o.Failed), skipped+len(o.Skipped)
	}
	state := "ok"
	if len(r.Problems) > 0 {
		state = "FAILED"
	}
	return []string{
		r.Kernel.Name, r.Kernel.GOARCH(), r.Kernel.What, rungs(r, "root"), rungs(r, "user"),
		fmt.Sprintf("%s: %d passed, %d failed, %d skipped", state, passed, failed, skipped), fmt.Sprintf("%.0f s", r.Spent.Seconds()),
	}
}

func header() []string {
	return []string{"kernel", "arch", "what it is for", "root gets", "an ordinary user gets", "result", "processor time"}
}

// rungs are the names alone: "namespaces, overlay, cgroup2, …".
func rungs(r result, user string) string {
	var names []string
	for field := range strings.FieldsSeq(r.Rungs[user]) {
		_, name, _ := strings.Cut(field, "=")
		names = append(names, name)
	}
	if len(names) == 0 {
		return "?"
	}
	if names[0] == "none" {
		return "none"
	}
	return strings.Join(names, ", ")
}

// text is the table for a terminal.
func text(results []result) string {
	rows := [][]string{header()}
	for _, r := range results {
		rows = append(rows, row(r))
	}
	width := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, c := range cells {
			width[i] = max(width[i], len(c))
		}
	}
	var b strings.Builder
	for _, cells := range rows {
		for i, c := range cells {
			fmt.Fprintf(&b, "%-*s  ", width[i], c)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// markdown is the table for the README, and below it what was skipped, why and
// where.
func markdown(results []result, only string, at time.Time) string {
	var b strings.Builder
	what := "all packages of the suite"
	if only != "" {
		what = "of the suite only " + strings.ReplaceAll(only, ",", " and ")
	}
	fmt.Fprintf(&b, "%s, QEMU without KVM, %s; rungs: isolation, root filesystem, limits, wiring, entering\n\n", at.UTC().Format(time.DateOnly), what)
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(header())
	fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(header())))
	where := map[string][]string{}
	for _, r := range results {
		line(row(r))
		for _, o := range r.Outcomes {
			for _, s := range o.Skipped {
				if names := where[s.Why]; !slices.Contains(names, r.Kernel.Name) {
					where[s.Why] = append(names, r.Kernel.Name)
				}
			}
		}
	}
	var whys []string
	for why := range where {
		whys = append(whys, why)
	}
	slices.Sort(whys)
	b.WriteString("\nSkipped, and where:\n\n")
	for _, why := range whys {
		names := strings.Join(where[why], ", ")
		if len(where[why]) == len(results) && len(results) > 1 {
			names = "all"
		}
		fmt.Fprintf(&b, "- %s: %s\n", why, names)
	}
	return b.String()
}

// The marks between which the table stands in a file.
const begin, end = "<!-- kernels -->\n", "<!-- /kernels -->"

func intoFile(file, table string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(data), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %q", file, strings.TrimSpace(begin))
	}
	return os.WriteFile(file, []byte(head+begin+table+end+foot), 0o644)
}
