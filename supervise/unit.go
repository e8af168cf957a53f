package supervise

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"coracle/supervise/notify"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"
)

// Prefix begins the names of our units.
const Prefix = "coracle-"

// margin is what a supervisor waits longer than the container's stop takes.
const margin = 10 * time.Second

// Unit says what is to be supervised: a command that stays in the foreground, and
// how it behaves. A container's is made by [Of].
type Unit struct {
	Name        string // of the container, or whatever is run
	Target      string // what the command is given, where that is not the name
	What        string // for people: container web
	Group       bool   // it is a group of containers
	Description string
	Binary      string   // absolute
	Globals     []string // options of ours before any command
	Command     []string // what follows them, in the foreground: supervise run
	Options     []string // of that command
	// Reloads and Settles are commands of ours: one has the service read its
	// files again, the other cleans up what a killed one left.
	Reloads, Settles []string
	After            []string      // units that must be up before, and stay up
	Depth            int           // how long the longest chain of these is
	Stop             time.Duration // what it takes to stop; negative: no bound
	StopCodes        []int         // its exit codes then, beside 0
	Restart          string        // "no", "on-failure", "always"
	Asked            bool          // Restart was asked for: what cannot be had is said
	Ready            string        // see package notify
	StartTime        int           // seconds to become ready; 0: the system's own
	Watchdog         time.Duration // 0: none
	StateDir         string        // where our state is; "" if that is on /
}

// Options are what the user says about units, for all of them.
type Options struct {
	Binary    string
	Globals   []string
	Ready     string
	Restart   string // "": the container's own policy, or on-failure
	NoLog     bool
	StartTime int
	Watchdog  time.Duration
	After     []string // units to be up before
	StateDir  string
}

// Inspected is a container as `inspect` has it.
type Inspected = container.InspectResponse

// Of is the unit of a container. peers are the units that are made together with
// it, by name and by ID of their container: those that it needs come before it.
func Of(c *Inspected, peers map[string]string, o Options) (*Unit, error) {
	name := strings.TrimPrefix(c.Name, "/")
	u := &Unit{
		Name: name, What: "container " + name, Description: "container " + name + ", run by coracle", Binary: o.Binary, Globals: o.Globals,
		Command: []string{"supervise", "run"}, Reloads: []string{"kill", "--signal", "HUP", name},
		Settles: []string{"container", "inspect", name},
		Ready:   o.Ready, StartTime: o.StartTime, Watchdog: o.Watchdog, StateDir: o.StateDir,
		Restart: o.Restart, Asked: o.Restart != "", Stop: 10 * time.Second,
	}
	if c.HostConfig.AutoRemove {
		return nil, fmt.Errorf("container %s is removed when it ends: a unit could start it but once", name)
	}
	if err := u.check(c.Config, o); err != nil {
		return nil, err
	}
	sig := syscall.SIGTERM
	if s, err := signal.ParseSignal(c.Config.StopSignal); err == nil && c.Config.StopSignal != "" {
		sig = s
	}
	u.StopCodes = []int{128 + int(sig)}
	if sig != syscall.SIGTERM {
		u.StopCodes = append(u.StopCodes, 128+int(syscall.SIGTERM))
	}
	if t := c.Config.StopTimeout; t != nil {
		u.Stop = time.Duration(*t) * time.Second
	}
	if u.Ready != "" {
		u.Options = append(u.Options, "--ready="+u.Ready)
	}
	if o.NoLog {
		u.Options = append(u.Options, "--no-log")
	}
	u.policy(c.HostConfig)
	u.After = append(append(u.After, needs(c.HostConfig, peers)...), o.After...)
	return u, nil
}

func (u *Unit) check(c *container.Config, o Options) error {
	switch o.Ready {
	case "", notify.Running, notify.Container:
	case notify.Healthy:
		if c.Healthcheck == nil || len(c.Healthcheck.Test) == 0 || c.Healthcheck.Test[0] == "NONE" {
			return fmt.Errorf("container %s has no health check: it can be ready when it runs, but never healthy", u.Name)
		}
	default:
		return fmt.Errorf("%q is none of %s, %s, %s", o.Ready, notify.Running, notify.Healthy, notify.Container)
	}
	switch o.Restart {
	case "", "no", "on-failure", "always":
	default:
		return fmt.Errorf("restart %q is none of no, on-failure, always", o.Restart)
	}
	for _, s := range append(append([]string{o.Binary, o.StateDir}, o.Globals...), o.After...) {
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q has control characters: no unit can hold it", s)
		}
	}
	return nil
}

// policy is the container's own, where nothing else was asked for.
func (u *Unit) policy(h *container.HostConfig) {
	if u.Restart != "" {
		return
	}
	switch h.RestartPolicy.Name {
	case container.RestartPolicyAlways, container.RestartPolicyUnlessStopped:
		u.Restart = "always"
	default:
		u.Restart = "on-failure"
	}
}

// needs are the units of those containers whose namespaces, volumes or names the
// container takes.
func needs(h *container.HostConfig, peers map[string]string) []string {
	var refs []string
	for _, mode := range []string{string(h.NetworkMode), string(h.PidMode), string(h.IpcMode)} {
		if ref, ok := strings.CutPrefix(mode, "container:"); ok {
			refs = append(refs, ref)
		}
	}
	for _, list := range [][]string{h.VolumesFrom, h.Links} {
		for _, ref := range list {
			ref, _, _ = strings.Cut(strings.TrimPrefix(ref, "/"), ":")
			refs = append(refs, ref)
		}
	}
	var units []string
	for _, ref := range refs {
		if unit, ok := peers[ref]; ok && !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	return units
}

// Arrange sets the depth of each unit by what it comes after.
func Arrange(units []*Unit) {
	for range units {
		for _, u := range units {
			for _, before := range units {
				if slices.Contains(u.After, before.UnitName()) && before != u {
					u.Depth = min(max(u.Depth, before.Depth+1), 8)
				}
			}
		}
	}
}

// UnitName is the unit's name.
func (u *Unit) UnitName() string { return Prefix + u.Name }

// Order is the place among services that start, from 0 to 99: late.
func (u *Unit) Order() int { return 90 + u.Depth }

// Reverse is the place among those that stop: early.
func (u *Unit) Reverse() int { return 10 - u.Depth }

// Patience is how long the system waits before it kills.
func (u *Unit) Patience() time.Duration {
	if u.Stop < 0 {
		return -1
	}
	return u.Stop + margin
}

// Millis is Patience in milliseconds; 0 for ever.
func (u *Unit) Millis() int64 { return max(0, u.Patience().Milliseconds()) }

func (u *Unit) ours(words ...string) []string {
	return append(append([]string{u.Binary}, u.Globals...), words...)
}

// Exec is the command line.
func (u *Unit) Exec() []string { return append([]string{u.Binary}, u.Args()...) }

// ExecFD is the command line, readiness told on descriptor 3.
func (u *Unit) ExecFD() []string {
	return u.ours(slices.Concat(u.Command, []string{"--notify-fd=3"}, u.Options, []string{u.Object()})...)
}

// Args are those of Exec.
func (u *Unit) Args() []string {
	return slices.Concat(u.Globals, u.Command, u.Options, []string{u.Object()})
}

// Object is what the command is given.
func (u *Unit) Object() string {
	if u.Target != "" {
		return u.Target
	}
	return u.Name
}

// Reload has the service read its files again.
func (u *Unit) Reload() []string { return u.ours(u.Reloads...) }

// Settle cleans up what a killed service left.
func (u *Unit) Settle() []string { return u.ours(u.Settles...) }

// TemplateMethod is the methods that a template may call (see internal/slim).
func (u *Unit) TemplateMethod(name string) any {
	switch name {
	case "UnitName":
		return u.UnitName
	case "Order":
		return u.Order
	case "Reverse":
		return u.Reverse
	case "Patience":
		return u.Patience
	case "Millis":
		return u.Millis
	case "Exec":
		return u.Exec
	case "ExecFD":
		return u.ExecFD
	case "Args":
		return u.Args
	case "Reload":
		return u.Reload
	case "Settle":
		return u.Settle
	case "Object":
		return u.Object
	case "Ask":
		return u.Ask
	}
	return nil
}

// Ask begins a question about the container.
func (u *Unit) Ask() []string { return u.ours("container", "inspect") }
