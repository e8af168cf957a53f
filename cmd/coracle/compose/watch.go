package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"coracle/cmd/coracle/opts"
	"coracle/engine"
	"coracle/group/model"

	"github.com/moby/moby/api/types/events"
	"github.com/urfave/cli/v2"
)

func newTop(t *Tool) *Verb {
	return composeVerb(t, "Display the running processes", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return top(t, c) })
}

func top(t *Tool, c *cli.Context) error {
	x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), false)
	if err != nil {
		return err
	}
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.Out, 4, 1, 2, ' ', 0)
	head := false
	for _, k := range x.list {
		if !k.Running() {
			continue
		}
		list, err := engine.Top(c.Context, eng, k.ID, nil)
		if err != nil {
			continue // it has just ended
		}
		if !head {
			head = true
			fmt.Fprintln(w, "SERVICE\t#\t"+strings.Join(list.Titles, "\t"))
		}
		for _, p := range list.Processes {
			fmt.Fprintln(w, k.Service+"\t"+strconv.Itoa(k.Number)+"\t"+strings.Join(p, "\t"))
		}
	}
	return w.Flush()
}

func newStats(t *Tool) *Verb {
	return composeVerb(t, "Display a live stream of container(s) resource usage statistics", "[SERVICE]", 0, 1,
		func(c *cli.Context, v *Verb) error {
			x, err := t.project.observed(c.Context, t, "", c.Args().Slice(), false)
			if err != nil {
				return err
			}
			var ids []string
			for _, k := range x.list {
				if k.Running() || c.Bool("all") {
					ids = append(ids, k.ID)
				}
			}
			if len(ids) == 0 {
				return errors.New("no container of the project is running")
			}
			return t.Stats(c, ids)
		},
		opts.Toggle("all", "a", "Show all containers (default shows just running)"),
		opts.Text("format", "", "Format output: 'table', 'table TEMPLATE', 'json' or a Go template"),
		opts.Toggle("no-stream", "", "Disable streaming stats and only pull the first result"),
		opts.Toggle("no-trunc", "", "Do not truncate output"))
}

func newEvents(t *Tool) *Verb {
	return composeVerb(t, "Receive real time events from containers", "[SERVICE...]", 0, -1,
		func(c *cli.Context, v *Verb) error { return showEvents(t, c, v) },
		opts.Toggle("json", "", "Output events as a stream of json objects"),
		opts.Text("since", "", "Show all events created since timestamp"),
		opts.Text("until", "", "Stream events until this timestamp"))
}

func showEvents(t *Tool, c *cli.Context, v *Verb) error {
	name, _, err := t.project.known(c.Context, t)
	if err != nil {
		return err
	}
	q := engine.EventQuery{}
	now := time.Now()
	if q.Since, err = opts.When(c.String("since"), now); err != nil {
		return t.Bad(v.Command.Flags, "since", c.String("since"), err)
	}
	if q.Until, err = opts.When(c.String("until"), now); err != nil {
		return t.Bad(v.Command.Flags, "until", c.String("until"), err)
	}
	eng, err := t.Engine(c.Context)
	if err != nil {
		return err
	}
	services := c.Args().Slice()
	filters := map[string][]string{"type": {"container"}, "label": {model.LabelProject + "=" + name, model.LabelOneoff + "=False"}}
	return engine.Events(c.Context, eng, q, filters, func(m *events.Message) error {
		if s := m.Actor.Attributes[model.LabelService]; len(services) > 0 && !slices.Contains(services, s) {
			return nil
		}
		return t.event(m, c.Bool("json"))
	})
}

// event prints an event as docker compose does: without the labels by which it
// knows its own.
func (t *Tool) event(m *events.Message, asJSON bool) error {
	attributes := map[string]string{}
	for k, v := range m.Actor.Attributes {
		if !strings.HasPrefix(k, "com.docker.compose.") {
			attributes[k] = v
		}
	}
	at := time.Unix(0, m.TimeNano)
	if asJSON {
		return json.NewEncoder(t.Out).Encode(map[string]any{
			"time": at, "type": "container", "service": m.Actor.Attributes[model.LabelService],
			"id": m.Actor.ID, "action": m.Action, "attributes": attributes,
		})
	}
	var pairs []string
	for k, v := range attributes {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	_, err := fmt.Fprintf(t.Out, "%s container %s %s (%s)\n", at.Format("2006-01-02 15:04:05.000000"), m.Action, m.Actor.ID, strings.Join(pairs, ", "))
	return err
}
