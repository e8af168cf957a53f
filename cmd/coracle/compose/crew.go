package compose

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"coracle/cmd/coracle/narrate"
	"coracle/engine"
	"coracle/group/model"
	"coracle/supervise"
)

// Crew are a group's containers, without one-offs.
func Crew(ctx context.Context, eng *engine.Engine, name string) ([]supervise.Crewman, error) {
	list, err := eng.List(ctx, engine.ListOptions{All: true, Filters: map[string][]string{"label": {model.LabelProject + "=" + name}}})
	if err != nil {
		return nil, err
	}
	var men []supervise.Crewman
	for _, c := range list {
		if c.Labels[model.LabelOneoff] == "True" {
			continue
		}
		info, err := eng.Inspect(ctx, c.ID, false)
		if err != nil {
			return nil, err
		}
		m := supervise.Crewman{Inspected: info, Service: c.Labels[model.LabelService], Needs: map[string]string{}}
		for service, how := range model.ParseDepends(c.Labels[model.LabelDepends]) {
			m.Needs[service] = how.Condition
		}
		men = append(men, m)
	}
	if men == nil {
		return nil, fmt.Errorf("no containers of a group %s: 'compose create' or 'group create' makes them", name)
	}
	slices.SortFunc(men, func(a, b supervise.Crewman) int { return strings.Compare(a.Name, b.Name) })
	return men, nil
}

// CrewOutput prints what each of a group's containers writes, behind its name in
// the group.
func CrewOutput(out io.Writer, group string, men []supervise.Crewman) func(name string) io.WriteCloser {
	short := func(name string) string { return strings.TrimPrefix(strings.TrimPrefix(name, "/"), group+"-") }
	var names []string
	for _, m := range men {
		names = append(names, short(m.Name))
	}
	logs := narrate.NewLogs(out, false, true, names)
	return func(name string) io.WriteCloser { return logs.Of(short(name)) }
}
