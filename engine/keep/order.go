package keep

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

// Candidate is a container that might be started after a boot.
type Candidate struct {
	C     *record.Container
	State record.State
}

// due tells whether c's policy has it started in the boot of that name. One that
// has run in it already is left to its monitor, and one never started to its user.
func (c Candidate) due(boot string) bool {
	s, p := &c.State, c.C.HostConfig.RestartPolicy
	if s.Running || s.StartedAt.IsZero() || s.Boot == boot {
		return false
	}
	switch {
	case p.IsAlways():
		return true
	case p.IsUnlessStopped():
		return !s.Stopped
	case p.IsOnFailure():
		return !s.Stopped && s.ExitCode != 0
	}
	return false
}

// Turn is a container that is to be started.
type Turn struct {
	C *record.Container
	// After are the IDs of those that it comes after and that are, or will be,
	// running, with the condition that its group (Compose project) has for each;
	// "" is that they were started.
	After map[string]string
}

// The conditions that mean more than a start; those of Compose's file format.
const (
	Healthy   = "service_healthy"
	Completed = "service_completed_successfully"
)

// Boot are those of all that are to be started in the boot of that name, each after
// those that it needs: by its links, its namespaces and its group. A circle is cut where it is
// met; what is missing fails when it is started.
func Boot(all []Candidate, boot string) []Turn {
	slices.SortFunc(all, func(a, b Candidate) int {
		return cmp.Or(a.C.Created.Compare(b.C.Created), cmp.Compare(a.C.ID, b.C.ID))
	})
	var out []Turn
	seen, up := map[string]bool{}, map[string]bool{}
	var visit func(c Candidate)
	visit = func(c Candidate) {
		if seen[c.C.ID] {
			return
		}
		seen[c.C.ID] = true
		after := map[string]string{}
		for _, ref := range needs(c.C.HostConfig) {
			if i := find(all, ref); i >= 0 {
				visit(all[i])
				after[all[i].C.ID] = ""
			}
		}
		for _, other := range all {
			if condition, ok := comesAfter(c.C, other.C); ok {
				visit(other)
				after[other.C.ID] = condition
			}
		}
		// In a circle one is not up yet, and nobody comes who has not his turn.
		maps.DeleteFunc(after, func(id, _ string) bool { return !up[id] })
		up[c.C.ID] = c.State.Running
		if c.due(boot) {
			up[c.C.ID] = true
			out = append(out, Turn{c.C, after})
		}
	}
	for _, c := range all {
		visit(c)
	}
	return out
}

// needs are the containers that must run before one with h.
func needs(h *container.HostConfig) []string {
	var refs []string
	for _, mode := range []string{string(h.NetworkMode), string(h.PidMode), string(h.IpcMode)} {
		if ref, ok := strings.CutPrefix(mode, "container:"); ok {
			refs = append(refs, ref)
		}
	}
	for _, link := range h.Links {
		ref, _, _ := strings.Cut(strings.TrimPrefix(link, "/"), ":")
		refs = append(refs, ref)
	}
	return refs
}

// comesAfter tells whether c's service depends on other's, both of one group
// (Compose project), and on what of it: its label lists SERVICE:CONDITION:RESTART.
func comesAfter(c, other *record.Container) (condition string, ok bool) {
	const prefix = "com.docker.compose."
	mine, its := c.Config.Labels, other.Config.Labels
	if mine[prefix+"project"] == "" || mine[prefix+"project"] != its[prefix+"project"] {
		return "", false
	}
	for one := range strings.SplitSeq(mine[prefix+"depends_on"], ",") {
		service, rest, _ := strings.Cut(one, ":")
		if service != "" && service == its[prefix+"service"] {
			condition, _, _ = strings.Cut(rest, ":")
			return condition, true
		}
	}
	return "", false
}

func find(all []Candidate, ref string) int {
	ref = strings.TrimPrefix(ref, "/")
	i := slices.IndexFunc(all, func(c Candidate) bool { return c.C.ID == ref || c.C.Name == ref })
	if i < 0 && len(ref) >= 12 {
		i = slices.IndexFunc(all, func(c Candidate) bool { return strings.HasPrefix(c.C.ID, ref) })
	}
	return i
}
