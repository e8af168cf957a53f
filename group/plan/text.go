package plan

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Write prints the plan, one line a step.
func (p *Plan) Write(w io.Writer) {
	if p.Nothing() {
		fmt.Fprintf(w, "%s: nothing to do\n", p.Project)
		return
	}
	for _, service := range slices.Sorted(maps.Keys(p.Pull)) {
		fmt.Fprintf(w, "pull      image of %s (%s)\n", service, p.Pull[service])
	}
	for _, name := range p.Networks {
		fmt.Fprintf(w, "create    network %s\n", name)
	}
	for _, name := range p.Volumes {
		fmt.Fprintf(w, "create    volume %s\n", name)
	}
	for _, name := range p.RenewNetworks {
		fmt.Fprintf(w, "recreate  network %s (its definition changed)\n", name)
	}
	for _, name := range p.RenewVolumes {
		fmt.Fprintf(w, "recreate  volume %s (its definition changed, its data are lost)\n", name)
	}
	for _, s := range p.Orphans {
		fmt.Fprintln(w, s)
	}
	for i, wave := range p.Waves {
		fmt.Fprintf(w, "wave %d\n", i+1)
		for _, s := range wave {
			for _, step := range s.Steps {
				fmt.Fprintf(w, "  %s%s\n", step, waits(s.Waits))
			}
		}
	}
}

func (s Step) String() string {
	line := fmt.Sprintf("%-9s container %s", s.Action, s.Container)
	if s.Why != "" {
		line += " (" + s.Why + ")"
	}
	return line
}

func waits(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+": "+strings.TrimPrefix(m[name], "service_"))
	}
	if list == nil {
		return ""
	}
	return ", after " + strings.Join(list, ", ")
}
