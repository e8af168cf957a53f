// Package trace explains whether one container can reach a port of another, step
// by step: are both running, do they share a network, is there a name, an
// address, a route, a rule in the way, a listener; and then it tries.
//
// It takes Docker's own descriptions of the two and looks into /proc; it changes
// nothing.
package trace

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"coracle/net/listen"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// Verdict is what was found in one step.
type Verdict string

// The verdicts. Unknown: it could not be looked at, which is said.
const (
	Good    Verdict = "ok"
	Bad     Verdict = "no"
	Unknown Verdict = "?"
)

// Step is one thing that was looked at.
type Step struct {
	Step    string  `json:"step"` // name, address, route, rule, listener …
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`
	Mend    string  `json:"mend,omitempty"` // what would help
}

// String is a line for people, and one with what would help.
func (s Step) String() string {
	line := fmt.Sprintf("%-3s %-9s %s", s.Verdict, s.Step, s.Text)
	if s.Mend != "" {
		line += fmt.Sprintf("\n%-14shint: %s", "", s.Mend)
	}
	return line
}

// Query is what is asked.
type Query struct {
	From, To *container.InspectResponse
	Proto    string // "tcp" or "udp"
	Port     uint16
	// Network describes a network that both are on.
	Network func(name string) (*dnetwork.Inspect, error)
	// Obstacles says what in the host's packet filter may be in the way on a
	// network; nil: nothing is known of that.
	Obstacles func(network string) []string
	// Proc is where processes are; empty: /proc.
	Proc string
	// Dial tries to connect from the namespace of process pid; nil: by this
	// kernel, where it can be done.
	Dial func(ctx context.Context, pid int, proto string, to netip.AddrPort) error
}

// Run looks step by step, as far as it makes sense. reached: nothing is in the
// way that was seen.
func Run(ctx context.Context, q *Query) (steps []Step, reached bool) {
	if q.Proc == "" {
		q.Proc = "/proc"
	}
	if q.Dial == nil {
		q.Dial = dialFrom
	}
	t := &tracer{q: q}
	t.run(ctx)
	return t.steps, !slices.ContainsFunc(t.steps, func(s Step) bool { return s.Verdict == Bad })
}

type tracer struct {
	q     *Query
	steps []Step
}

func (t *tracer) say(step string, v Verdict, mend, format string, args ...any) bool {
	t.steps = append(t.steps, Step{step, v, fmt.Sprintf(format, args...), mend})
	return v != Bad
}

func name(c *container.InspectResponse) string { return strings.TrimPrefix(c.Name, "/") }

func (t *tracer) proc(c *container.InspectResponse) string {
	return t.q.Proc + "/" + strconv.Itoa(c.State.Pid)
}

func (t *tracer) run(ctx context.Context) {
	q := t.q
	for _, c := range []*container.InspectResponse{q.From, q.To} {
		if c.State == nil || !c.State.Running {
			t.say("running", Bad, "coracle start "+name(c), "container %s does not run", name(c))
			return
		}
		t.say("running", Good, "", "container %s runs, process %d", name(c), c.State.Pid)
	}
	at, ok := t.address()
	if !ok || !t.route(at) || !t.rule(at) {
		t.listener(at)
		return
	}
	if t.listener(at) {
		t.attempt(ctx, at)
	}
}

// address finds the address of To that From would use, and its name.
func (t *tracer) address() (netip.Addr, bool) {
	q := t.q
	if at, here := t.sameSpace(); here {
		return at, true
	}
	shared := t.shared()
	if len(shared) == 0 {
		mend := ""
		if list := networks(q.To); len(list) > 0 {
			mend = "coracle network connect " + list[0] + " " + name(q.From)
		}
		t.say("network", Bad, mend, "no network has both: %s is on %s, %s on %s", name(q.From), words(networks(q.From)), name(q.To), words(networks(q.To)))
		return netip.Addr{}, false
	}
	t.say("network", Good, "", "both are on %s", words(shared))
	net := shared[0]
	ep := q.To.NetworkSettings.Networks[net]
	t.named(net, ep)
	at := ep.IPAddress
	if !at.IsValid() {
		at = ep.GlobalIPv6Address
	}
	if !at.IsValid() {
		return at, t.say("address", Bad, "", "%s has no address on %s", name(q.To), net)
	}
	return at, t.say("address", Good, "", "%s has the address %s on %s", name(q.To), at, net)
}

// sameSpace: two containers in one network namespace meet on its loopback
// interface.
func (t *tracer) sameSpace() (netip.Addr, bool) {
	a, err := os.Readlink(t.proc(t.q.From) + "/ns/net")
	b, err2 := os.Readlink(t.proc(t.q.To) + "/ns/net")
	if err != nil || err2 != nil || a != b || len(t.shared()) > 0 {
		return netip.Addr{}, false
	}
	t.say("network", Good, "", "both are in one network namespace")
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
}

func networks(c *container.InspectResponse) []string {
	if c.NetworkSettings == nil {
		return nil
	}
	var out []string
	for n, ep := range c.NetworkSettings.Networks {
		if ep != nil && n != "host" && n != "none" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// shared are the networks of both, those with names first.
func (t *tracer) shared() []string {
	var out []string
	for _, n := range networks(t.q.From) {
		if slices.Contains(networks(t.q.To), n) {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int {
		return strings.Compare(strconv.FormatBool(a == "bridge"), strconv.FormatBool(b == "bridge"))
	})
	return out
}

func words(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// named says by which names From finds To on a network.
func (t *tracer) named(net string, ep *dnetwork.EndpointSettings) {
	hosts, _ := os.ReadFile(t.q.From.HostsPath)
	inFile := slices.Contains(strings.Fields(string(hosts)), name(t.q.To))
	names := append([]string{name(t.q.To)}, ep.Aliases...)
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case net != "bridge":
		t.say("name", Good, "", "the name server of %s answers for %s", net, strings.Join(names, ", "))
	case inFile:
		t.say("name", Good, "", "%s is in /etc/hosts of %s", name(t.q.To), name(t.q.From))
	default:
		t.say("name", Unknown, "coracle network create NET, and start both with --network NET", "the default network has no names: use the address, or --link")
	}
}

// rule looks for what the network itself forbids.
func (t *tracer) rule(at netip.Addr) bool {
	if at.IsLoopback() {
		return t.say("rule", Good, "", "nothing stands between programs of one network namespace")
	}
	shared := t.shared()
	if len(shared) == 0 || t.q.Network == nil {
		return true
	}
	n, err := t.q.Network(shared[0])
	if err != nil {
		return t.say("rule", Unknown, "", "network %s: %v", shared[0], err)
	}
	if icc, err := strconv.ParseBool(n.Options["com.docker.network.bridge.enable_icc"]); err == nil && !icc {
		return t.say("rule", Bad, "a network without --opt com.docker.network.bridge.enable_icc=false", "network %s keeps its containers from each other", shared[0])
	}
	if t.q.Obstacles != nil {
		list := t.q.Obstacles(shared[0])
		for _, o := range list {
			// Whether it does, the attempt will tell.
			t.say("rule", Unknown, "nft list ruleset, or iptables-save, shows it", "%s", o)
		}
		if len(list) > 0 {
			return true
		}
	}
	return t.say("rule", Good, "", "network %s lets its containers reach each other", shared[0])
}

// listener looks whether anybody in To listens at that port.
func (t *tracer) listener(at netip.Addr) bool {
	q := t.q
	table := listen.Look(t.proc(q.To))
	s := listen.On(q.Proto, q.Port)
	list := table[s]
	switch {
	case at.IsValid() && table.At(s, at):
		return t.say("listener", Good, "", "%s listens at %d/%s", name(q.To), q.Port, q.Proto)
	case len(list) > 0 && at.IsValid() && !slices.Contains(list, at):
		return t.say("listener", Bad, "let it listen on 0.0.0.0 or "+at.String(), "%s listens at %d/%s of %s only", name(q.To), q.Port, q.Proto, list[0])
	case len(list) > 0:
		return t.say("listener", Good, "", "%s listens at %d/%s", name(q.To), q.Port, q.Proto)
	}
	var others []string
	for o := range table {
		if o.Proto == q.Proto {
			others = append(others, strconv.Itoa(int(o.Port)))
		}
	}
	slices.Sort(others)
	return t.say("listener", Bad, "", "nobody in %s listens at %d/%s; listened at: %s", name(q.To), q.Port, q.Proto, words(others))
}

// attempt tries it, which is the only proof.
func (t *tracer) attempt(ctx context.Context, at netip.Addr) {
	to := netip.AddrPortFrom(at, t.q.Port)
	if t.q.Proto != "tcp" {
		t.say("try", Unknown, "", "%s is not tried: a datagram that is not answered proves nothing", to)
		return
	}
	err := t.q.Dial(ctx, t.q.From.State.Pid, t.q.Proto, to)
	switch {
	case err == nil:
		t.say("try", Good, "", "connected from %s to %s", name(t.q.From), to)
	case isNotTried(err):
		t.say("try", Unknown, "", "not tried: %v", err)
	default:
		t.say("try", Bad, "", "connect to %s: %v", to, err)
	}
}
