package plan

import (
	"fmt"
	"maps"
	"slices"

	"coracle/group/load"
	"coracle/group/model"
)

// renewed are the networks and volumes, by name, that are made anew.
type renewed struct{ networks, volumes map[string]bool }

func (r renewed) networkOf(c *Container) string {
	for _, name := range c.Networks {
		if r.networks[name] {
			return name
		}
	}
	return ""
}

func (r renewed) volumeOf(c *Container) string {
	for _, place := range slices.Sorted(maps.Keys(c.Volumes)) {
		if name := c.Volumes[place]; r.volumes[name] {
			return name
		}
	}
	return ""
}

// resources are the networks and volumes that are missing, and those that are
// not what the files say any more.
func (pl *planner) resources(out *Plan) error {
	pl.renew = renewed{map[string]bool{}, map[string]bool{}}
	if pl.s.Wired {
		for _, key := range slices.Sorted(maps.Keys(pl.p.Networks)) {
			if err := pl.network(out, key); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(pl.p.Volumes)) {
		pl.volume(out, key)
	}
	return nil
}

// network decides on one as docker compose 2.40 does.
func (pl *planner) network(out *Plan, key string) error {
	n := pl.p.Networks[key]
	labels, there := pl.s.Networks[n.Name]
	switch {
	case bool(n.External):
		return nil
	case !there:
		out.Networks = append(out.Networks, key)
		return nil
	}
	const use = "Set `external: true` to use an existing network"
	if project, ok := labels[model.LabelProject]; !ok {
		out.Warnings = append(out.Warnings, fmt.Sprintf("a network with name %s exists but was not created by compose. %s", n.Name, use))
	} else if project != pl.p.Name {
		out.Warnings = append(out.Warnings, fmt.Sprintf("a network with name %s exists but was not created for project %q. %s", n.Name, pl.p.Name, use))
	}
	if is := labels[model.LabelNetwork]; is != key {
		return fmt.Errorf("network %s was found but has incorrect label %s set to %q (expected: %q)", n.Name, model.LabelNetwork, is, key)
	}
	if hash := labels[model.LabelHash]; hash != "" && hash != model.NetworkHash(n) {
		out.RenewNetworks = append(out.RenewNetworks, key)
		pl.renew.networks[n.Name] = true
	}
	return nil
}

func (pl *planner) volume(out *Plan, key string) {
	v := pl.p.Volumes[key]
	labels, there := pl.s.Volumes[v.Name]
	switch {
	case bool(v.External):
		return
	case !there:
		out.Volumes = append(out.Volumes, key)
		return
	}
	const use = "Use `external: true` to use an existing volume"
	if project, ok := labels[model.LabelProject]; !ok {
		out.Warnings = append(out.Warnings, fmt.Sprintf("volume %q already exists but was not created by Docker Compose. %s", v.Name, use))
	} else if project != pl.p.Name {
		out.Warnings = append(out.Warnings, fmt.Sprintf("volume %q already exists but was created for project %q (expected %q). %s", v.Name, project, pl.p.Name, use))
	}
	if slices.Contains(pl.o.RenewVolumes, key) {
		out.RenewVolumes = append(out.RenewVolumes, key)
		pl.renew.volumes[v.Name] = true
	}
}

// DivergedVolumes are those, by key, that were made of another definition than
// the files have now. They hold data: whether they are made anew is asked.
func DivergedVolumes(p *load.Project, s *State) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(p.Volumes)) {
		v := p.Volumes[key]
		if hash, ok := s.Volumes[v.Name][model.LabelHash]; ok && !bool(v.External) && hash != model.VolumeHash(v) {
			list = append(list, key)
		}
	}
	return list
}
