package supervise

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"coracle/supervise/notify"
)

// GroupPrefix begins the names of groups' units, so that one is not taken for a
// container's.
const GroupPrefix = "group-"

// Crewman is a container of a group.
type Crewman struct {
	*Inspected
	Service string
	// Needs are the services that it comes after, each with Compose's condition.
	Needs map[string]string
}

// Compose's conditions.
const (
	started   = "service_started"
	healthy   = "service_healthy"
	completed = "service_completed_successfully"
)

// OfGroup is the unit of a whole group: one process that is the parent of those
// that are the parents of its containers.
func OfGroup(name string, men []Crewman, o Options) (*Unit, error) {
	// Anybody who makes a container may give it a label.
	if !properName(name) {
		return nil, fmt.Errorf("group %q: no unit can have that name: it must be lower case letters, digits, dashes and underscores", name)
	}
	u := &Unit{
		Name: GroupPrefix + name, Target: name, What: "group " + name, Group: true, Description: "group " + name + ", run by coracle",
		Binary: o.Binary, Globals: o.Globals, Command: []string{"supervise", "run"}, Options: []string{"--group"},
		Reloads: []string{"compose", "--project-name", name, "kill", "--signal", "HUP"},
		Settles: []string{"compose", "--project-name", name, "ps", "--quiet"},
		After:   o.After, StopCodes: []int{143}, Ready: o.Ready, Restart: o.Restart, Asked: o.Restart != "",
		StartTime: o.StartTime, Watchdog: o.Watchdog, StateDir: o.StateDir,
	}
	if u.Restart == "" {
		u.Restart = "on-failure"
	}
	if o.Ready == notify.Container {
		return nil, fmt.Errorf("group %s: no program speaks for a whole group: it can be ready when all run, or are healthy", name)
	}
	for _, m := range men {
		one, err := Of(m.Inspected, nil, Options{Binary: o.Binary, Globals: o.Globals, StateDir: o.StateDir, Restart: o.Restart, After: o.After})
		if err != nil {
			return nil, err
		}
		u.StopCodes = append(u.StopCodes, one.StopCodes...)
	}
	slices.Sort(u.StopCodes)
	u.StopCodes = slices.Compact(u.StopCodes)
	u.Stop = stopTime(men)
	if o.Ready != "" {
		u.Options = append(u.Options, "--ready="+o.Ready)
	}
	if o.NoLog {
		u.Options = append(u.Options, "--no-log")
	}
	return u, nil
}

// properName is Compose's rule for names of projects.
func properName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" && name[0] != '_' && name[0] != '-'
}

// stopTime is how long the longest chain of services takes to stop, one after
// the other; negative: no bound.
func stopTime(men []Crewman) time.Duration {
	own := map[string]time.Duration{}
	needs := map[string][]string{}
	for _, m := range men {
		t := 10 * time.Second
		if s := m.Config.StopTimeout; s != nil {
			t = time.Duration(*s) * time.Second
		}
		if t < 0 {
			return -1
		}
		own[m.Service] = max(own[m.Service], t)
		needs[m.Service] = slices.AppendSeq(needs[m.Service], maps.Keys(m.Needs))
	}
	var chain func(service string, depth int) time.Duration
	chain = func(service string, depth int) (longest time.Duration) {
		if depth > len(own) {
			return 0 // a circle, which is refused when it is run
		}
		for _, n := range needs[service] {
			longest = max(longest, chain(n, depth+1))
		}
		return longest + own[service]
	}
	longest := time.Duration(0)
	for service := range own {
		longest = max(longest, chain(service, 0))
	}
	return longest
}

// wantedHealthy are the services that others wait for until they are healthy.
func wantedHealthy(men []Crewman) map[string]bool {
	wanted := map[string]bool{}
	for _, m := range men {
		for service, condition := range m.Needs {
			wanted[service] = wanted[service] || condition == healthy
		}
	}
	return wanted
}

// OfServices are units of a group's containers, one each, in the order of their
// services. warnings say what such units cannot wait for.
func OfServices(men []Crewman, o Options) (units []*Unit, warnings []string, err error) {
	peers := map[string]string{}
	wanted := wantedHealthy(men)
	for _, m := range men {
		name := strings.TrimPrefix(m.Name, "/")
		peers[name], peers[m.ID], peers[m.ID[:12]] = Prefix+name, Prefix+name, Prefix+name
	}
	for _, m := range men {
		mine := o
		if mine.Ready == "" && wanted[m.Service] {
			mine.Ready = notify.Healthy
		}
		u, err := Of(m.Inspected, peers, mine)
		if err != nil {
			return nil, nil, err
		}
		for _, other := range men {
			unit := Prefix + strings.TrimPrefix(other.Name, "/")
			condition, ok := m.Needs[other.Service]
			if !ok || unit == u.UnitName() {
				continue
			}
			if condition == completed {
				warnings = append(warnings, fmt.Sprintf("%s: no unit waits for the end of %s, as the group's own does: it is started after its start", u.UnitName(), unit))
			}
			if !slices.Contains(u.After, unit) {
				u.After = append(u.After, unit)
			}
		}
		units = append(units, u)
	}
	Arrange(units)
	return units, warnings, nil
}
