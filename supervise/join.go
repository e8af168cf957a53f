package supervise

import (
	"fmt"
	"io"
	"strings"

	"coracle/internal/sys"
	"coracle/supervise/crew"
	"coracle/supervise/notify"
)

// CrewOptions say how a group is run.
type CrewOptions struct {
	Globals []string
	NoLog   bool
	Output  func(name string) io.WriteCloser
	Ended   func(name string, code int)
}

// NewCrew is a group, ready to be run for a herald.
func NewCrew(men []Crewman, h *Herald, o CrewOptions) (*crew.Crew, error) {
	path, _, err := sys.Self()
	if err != nil {
		return nil, err
	}
	if h.When == notify.Container {
		return nil, fmt.Errorf("no program speaks for a whole group: it can be ready when all run, or are healthy")
	}
	c := &crew.Crew{Path: path, Output: o.Output, Ended: o.Ended}
	c.Ready = func() { h.Up(fmt.Sprintf("running, %d containers", len(men))) }
	wanted := wantedHealthy(men)
	for _, m := range men {
		name := strings.TrimPrefix(m.Name, "/")
		checked := m.Config.Healthcheck != nil && len(m.Config.Healthcheck.Test) > 0 && m.Config.Healthcheck.Test[0] != "NONE"
		// Its own restart policy is heeded: the supervisor sees the whole alone.
		args := append(append([]string(nil), o.Globals...), "supervise", "run", fmt.Sprintf("--notify-fd=%d", crew.FD), "--restart")
		switch {
		case wanted[m.Service] && !checked:
			return nil, fmt.Errorf("container %s has no health check, and another waits until it is healthy", name)
		case checked && (wanted[m.Service] || h.When == notify.Healthy):
			args = append(args, "--ready="+notify.Healthy)
		}
		if o.NoLog {
			args = append(args, "--no-log")
		}
		one := crew.Member{Name: name, Args: append(args, name)}
		for _, other := range men {
			its := strings.TrimPrefix(other.Name, "/")
			switch condition, ok := m.Needs[other.Service]; {
			case !ok || its == name:
			case condition == completed:
				one.Waits = append(one.Waits, its)
			default:
				one.Needs = append(one.Needs, its)
			}
		}
		c.Members = append(c.Members, one)
	}
	return c, nil
}
