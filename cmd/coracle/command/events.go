package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/template"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/moby/moby/api/types/events"
	"github.com/urfave/cli/v2"
)

func newEvents(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Get real time events: what happened to containers, images, volumes and networks",
		Flags: []cli.Flag{
			list("filter", "f", "`filter` Filter output based on conditions provided"),
			text("format", "", "Format output: 'json' or a Go template"),
			text("since", "", "Show all events created since timestamp"),
			text("until", "", "Stream events until this timestamp"),
		},
	}
	v.Action = func(c *cli.Context) error { return showEvents(t, c, v) }
	return v
}

// event is one as Docker's CLI prints it, those fields included that its API is
// about to give up.
type event struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	events.Message
}

func showEvents(t *tool, c *cli.Context, v *verb) error {
	show, err := eventWriter(t.Out, c.String("format"))
	if err != nil {
		return err
	}
	q := engine.EventQuery{}
	now := time.Now()
	if q.Since, err = opts.When(c.String("since"), now); err != nil {
		return err
	}
	if q.Until, err = opts.When(c.String("until"), now); err != nil {
		return err
	}
	filters, err := v.filters(c)
	if err != nil {
		return err
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	return engine.Events(c.Context, eng, q, filters, show)
}

// eventWriter prints events as --format says.
func eventWriter(w io.Writer, text string) (func(*events.Message) error, error) {
	if text == "" {
		return func(m *events.Message) error { return writeEvent(w, m) }, nil
	}
	var tmpl *template.Template
	if text != "json" {
		var err error
		if tmpl, err = format.Template("", text); err != nil {
			var bad *format.TemplateError
			if errors.As(err, &bad) {
				err = bad.Err
			}
			return nil, &usageError{"", fmt.Errorf("Error parsing format: %w", err), 64}
		}
		// As Docker's: a field that is not there is known before anything has happened.
		if err := tmpl.Execute(io.Discard, &event{}); err != nil {
			return nil, &usageError{"", fmt.Errorf("Error parsing format: %w", err), 64}
		}
	}
	return func(m *events.Message) error {
		e := event{Message: *m}
		if m.Type == events.ContainerEventType || m.Type == events.ImageEventType {
			e.Status, e.ID, e.From = string(m.Action), m.Actor.ID, m.Actor.Attributes["image"]
		}
		if tmpl == nil {
			return json.NewEncoder(w).Encode(&e)
		}
		if err := tmpl.Execute(w, &e); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w)
		return err
	}, nil
}

func writeEvent(w io.Writer, m *events.Message) error {
	var attrs []string
	for k, v := range m.Actor.Attributes {
		attrs = append(attrs, k+"="+v)
	}
	sort.Strings(attrs)
	tail := ""
	if len(attrs) > 0 {
		tail = " (" + strings.Join(attrs, ", ") + ")"
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s%s\n", time.Unix(0, m.TimeNano).Format("2006-01-02T15:04:05.000000000Z07:00"), m.Type, m.Action, m.Actor.ID, tail)
	return err
}
