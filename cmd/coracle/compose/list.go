package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/cmd/coracle/narrate"
	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group"
	"coracle/group/plan"

	"github.com/moby/moby/api/types/container"
	"github.com/urfave/cli/v2"
)

func newPs(t *Tool) *Verb {
	orphans := opts.Toggle("orphans", "", "Include orphaned services (not declared by project)")
	orphans.Value = true
	return composeVerb(t, "List containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composePs(t, c) },
		opts.Toggle("all", "a", "Show all stopped containers (including those created by the run command)"),
		opts.Text("filter", "", "Filter services by a property (supported filters: status)"),
		opts.Text("format", "", "Format output: 'table', 'table TEMPLATE', 'json' or a Go template"),
		opts.Toggle("no-trunc", "", "Don't truncate output"),
		orphans,
		opts.Toggle("quiet", "q", "Only display IDs"),
		opts.Toggle("services", "", "Display services"),
		opts.List("status", "", "Filter services by status. Values: [paused | restarting | removing | running | dead | created | exited]"))
}

func composePs(t *Tool, c *cli.Context) error {
	x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), c.Bool("all"))
	if err != nil {
		return err
	}
	states := c.StringSlice("status")
	if f := c.String("filter"); f != "" {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key != "status" {
			return fmt.Errorf("unknown filter %s", key)
		}
		states = append(states, value)
	}
	var shown []*plan.Container
	for _, k := range x.list {
		if !c.Bool("orphans") && x.files != nil {
			if _, ok := x.files.Services[k.Service]; !ok {
				continue
			}
		}
		if len(states) == 0 && (c.Bool("all") || k.Running()) || slices.Contains(states, string(k.State)) {
			shown = append(shown, k)
		}
	}
	slices.SortFunc(shown, func(a, b *plan.Container) int { return strings.Compare(a.Name, b.Name) })
	if c.Bool("services") {
		var names []string
		for _, k := range shown {
			names = append(names, k.Service)
		}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			fmt.Fprintln(t.Out, n)
		}
		return nil
	}
	if c.Bool("quiet") {
		for _, k := range shown {
			fmt.Fprintln(t.Out, k.ID)
		}
		return nil
	}
	rows := make([]format.Replica, len(shown))
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	for i, k := range shown {
		code := 0
		row := *k.Summary
		// A listing tells neither the exit code nor, but in words, the health.
		if full, err := eng.Inspect(c.Context, k.ID, false); err == nil {
			if !k.Running() {
				code = full.State.ExitCode
			}
			if h := full.State.Health; h != nil {
				row.Health = &container.HealthSummary{Status: h.Status, FailingStreak: h.FailingStreak}
			}
		}
		rows[i] = format.ReplicaRow(row, x.name, k.Service, code, !c.Bool("no-trunc"), time.Now())
	}
	return format.Write(t.Out, format.Replicas(c.String("format")), rows)
}

func newLs(t *Tool) *Verb {
	return composeVerb(t, "List running compose projects", "", 0, 0,
		func(c *cli.Context, v *Verb) error { return composeLs(t, c) },
		opts.Toggle("all", "a", "Show all stopped Compose projects"),
		opts.List("filter", "", "`filter` Filter output based on conditions provided"),
		opts.Text("format", "", `Format the output. Values: [table | json] (default "table")`),
		opts.Toggle("quiet", "q", "Only display project names"))
}

// listedProject is a line of `compose ls`.
type listedProject struct{ Name, Status, ConfigFiles string }

func composeLs(t *Tool, c *cli.Context) error {
	s, _, err := t.project.session(c.Context, t, "")
	if err != nil {
		return err
	}
	state, err := s.Observe(c.Context, "")
	if err != nil {
		return err
	}
	var want []string
	for _, f := range c.StringSlice("filter") {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key != "name" {
			return fmt.Errorf("invalid filter '%s'", key)
		}
		want = append(want, value)
	}
	found := []listedProject{}
	for _, p := range group.Projects(state, c.Bool("all")) {
		if len(want) == 0 || slices.ContainsFunc(want, func(w string) bool { return strings.Contains(p.Name, w) }) {
			found = append(found, listedProject(p))
		}
	}
	switch f := c.String("format"); {
	case c.Bool("quiet"):
		for _, p := range found {
			fmt.Fprintln(t.Out, p.Name)
		}
		return nil
	case f == "json":
		return json.NewEncoder(t.Out).Encode(found)
	case f == "" || f == "table":
		l := format.List{Table: "{{.Name}}\t{{.Status}}\t{{.ConfigFiles}}", Header: format.Header{"Name": "NAME", "Status": "STATUS", "ConfigFiles": "CONFIG FILES"}, Width: 20}
		return format.Write(t.Out, l, found)
	default:
		return fmt.Errorf("format value %q could not be parsed: it is table or json", f)
	}
}

func newLogs(t *Tool) *Verb {
	tail := opts.Text("tail", "n", "Number of lines to show from the end of the logs for each container")
	tail.Value = "all"
	return composeVerb(t, "View output from containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return composeLogs(t, c, v) },
		opts.Toggle("follow", "f", "Follow log output"),
		opts.Number("index", "", "index of the container if service has multiple replicas"),
		opts.Toggle("no-color", "", "Produce monochrome output"),
		opts.Toggle("no-log-prefix", "", "Don't print prefix in logs"),
		opts.Text("since", "", `Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`),
		tail,
		opts.Toggle("timestamps", "t", "Show timestamps"),
		opts.Text("until", "", `Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)`))
}

func composeLogs(t *Tool, c *cli.Context, v *Verb) error {
	o := engine.LogOptions{Follow: c.Bool("follow"), Timestamps: c.Bool("timestamps"), Tail: -1}
	if tail := c.String("tail"); tail != "all" {
		if _, err := fmt.Sscanf(tail, "%d", &o.Tail); err != nil {
			return t.Bad(v.Command.Flags, "tail", tail, errors.New(`must be a number or "all"`))
		}
	}
	now := time.Now()
	var err error
	if o.Since, err = opts.When(c.String("since"), now); err != nil {
		return t.Bad(v.Command.Flags, "since", c.String("since"), err)
	}
	if o.Until, err = opts.When(c.String("until"), now); err != nil {
		return t.Bad(v.Command.Flags, "until", c.String("until"), err)
	}
	x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), false)
	if err != nil {
		return err
	}
	var shown []*plan.Container
	var names []string
	for _, k := range x.list {
		if i := c.Int("index"); i == 0 || k.Number == i {
			shown = append(shown, k)
			names = append(names, short(k))
		}
	}
	logs := narrate.NewLogs(t.Out, t.project.color(t, c.Bool("no-color")), !c.Bool("no-log-prefix"), names)
	if o.Follow {
		return group.FollowLogs(c.Context, x.Engine, shown, o, func(k *plan.Container) io.WriteCloser { return logs.Of(short(k)) })
	}
	return group.MergeLogs(c.Context, x.Engine, shown, o, func(k *plan.Container) io.WriteCloser { return logs.Of(short(k)) })
}
