package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"coracle/group/model"
	"coracle/group/plan"
)

// Listed is one project.
type Listed struct{ Name, Status, ConfigFiles string }

// Projects lists the projects of containers; without all, those that run.
func Projects(state *plan.State, all bool) []Listed {
	by := map[string][]*plan.Container{}
	for _, c := range state.Containers {
		if all || c.Running() {
			name := c.Labels[model.LabelProject]
			by[name] = append(by[name], c)
		}
	}
	var out []Listed
	for _, name := range slices.Sorted(maps.Keys(by)) {
		count := map[string]int{}
		var files []string
		for _, c := range by[name] {
			count[string(c.State)]++
			for _, f := range strings.Split(c.Labels[model.LabelFiles], ",") {
				if f != "" && !slices.Contains(files, f) {
					files = append(files, f)
				}
			}
		}
		var states []string
		for _, s := range slices.Sorted(maps.Keys(count)) {
			states = append(states, fmt.Sprintf("%s(%d)", s, count[s]))
		}
		out = append(out, Listed{name, strings.Join(states, ", "), strings.Join(files, ",")})
	}
	return out
}
