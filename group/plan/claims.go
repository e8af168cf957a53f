package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"coracle/group/load"
	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
)

// Host is what a plan is held against before anything starts.
type Host struct {
	// Containers are all that there are, the project's too.
	Containers []container.Summary
	// Shared: containers listen on the host's own network, so that no two of them
	// can have one port, published or not.
	Shared bool
	// Unwired: no port is published, and nobody has an address.
	Unwired bool
	// Exposes are the ports that images declare ("80/tcp"), by service; only asked
	// for where the network is shared.
	Exposes map[string][]string
	// Busy tells whether somebody listens on a port of the host; it may be nil.
	Busy func(proto string, addr netip.Addr, port uint16) bool
}

// claim is a port of the host, at one address or at all, that somebody has.
type claim struct {
	proto string
	addr  netip.Addr // invalid: all
	port  uint16
	who   string
	id    string // whose it is: of one container none is in the way of another
	how   string // "publishes", "listens on"
}

func (c claim) meets(o claim) bool {
	return c.id != o.id && c.proto == o.proto && c.port == o.port &&
		(!c.addr.IsValid() || !o.addr.IsValid() || c.addr.IsUnspecified() || o.addr.IsUnspecified() || c.addr == o.addr)
}

func (c claim) String() string {
	if c.addr.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(c.addr, c.port), c.proto)
	}
	return fmt.Sprintf("%d/%s", c.port, c.proto)
}

// Clashes says which names, addresses and ports of the host the plan's containers
// cannot have: two of them want one, or another container or program has it. It
// is nil where all can be had.
func (p *Plan) Clashes(project *load.Project, h Host) error {
	k := &clashes{project: project, plan: p, host: h, said: map[string]bool{}}
	k.wanted()
	k.names()
	if !h.Unwired {
		k.addresses()
		k.ports()
	}
	if len(k.list) == 0 {
		return nil
	}
	return errors.New(strings.Join(k.list, "; "))
}

type clashes struct {
	project *load.Project
	plan    *Plan
	host    Host
	want    []claim // of containers that are to be there, in order
	fresh   []Step  // that are to be made or started
	list    []string
	said    map[string]bool
}

func (k *clashes) say(format string, a ...any) {
	if text := fmt.Sprintf(format, a...); !k.said[text] {
		k.said[text] = true
		k.list = append(k.list, text)
	}
}

// wanted gathers what the containers of the plan claim.
func (k *clashes) wanted() {
	for _, wave := range k.plan.Waves {
		for _, service := range wave {
			s := k.project.Services[service.Name]
			for _, step := range service.Steps {
				if step.Action == Remove {
					continue
				}
				if step.Action != Leave && step.Action != Finish {
					k.fresh = append(k.fresh, step)
				}
				k.want = append(k.want, k.claims(&s, step.Container)...)
			}
		}
	}
}

// claims are those of one container.
func (k *clashes) claims(s *types.ServiceConfig, name string) (list []claim) {
	add := func(how, text, proto, ip string) {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return // chosen when it starts, of a range or of all
		}
		c := claim{proto: proto, port: uint16(port), who: fmt.Sprintf("service %q", s.Name), id: name, how: how}
		c.addr, _ = netip.ParseAddr(strings.Trim(ip, "[]"))
		list = append(list, c)
	}
	if s.NetworkMode != "" && s.NetworkMode != "bridge" && !(k.host.Shared && s.NetworkMode == "host") {
		return nil
	}
	for _, p := range s.Ports {
		proto := p.Protocol
		if proto == "" {
			proto = "tcp"
		}
		add("publishes", p.Published, proto, p.HostIP)
		if k.host.Shared {
			add("listens on", fmt.Sprint(p.Target), proto, "")
		}
	}
	if !k.host.Shared {
		return list
	}
	for _, e := range append(slices.Clone(s.Expose), k.host.Exposes[s.Name]...) {
		port, proto, ok := strings.Cut(e, "/")
		if !ok {
			proto = "tcp"
		}
		first, last, ranged := strings.Cut(port, "-")
		from, _ := strconv.Atoi(first)
		to := from
		if ranged {
			to, _ = strconv.Atoi(last)
		}
		for n := from; n <= to && n-from < 4096; n++ {
			add("listens on", strconv.Itoa(n), proto, "")
		}
	}
	return list
}

// own tells whether a container of the listing is one that the plan is about.
func (k *clashes) own(s *container.Summary) bool {
	return s.Labels[model.LabelProject] == k.project.Name && s.Labels[model.LabelOneoff] != "True" && k.project.Services[s.Labels[model.LabelService]].Name != ""
}

func nameOf(s *container.Summary) string {
	if len(s.Names) == 0 {
		return s.ID
	}
	return strings.TrimPrefix(s.Names[0], "/")
}

// names are had once.
func (k *clashes) names() {
	for i := range k.host.Containers {
		c := &k.host.Containers[i]
		if k.own(c) || k.gone(c) {
			continue
		}
		for _, step := range k.fresh {
			if step.Old == nil && nameOf(c) == step.Container {
				k.say("the container name %q is already in use by container %.12s%s: remove or rename that one", step.Container, c.ID, of(c))
			}
		}
	}
}

// gone tells whether the plan removes a container before anything is made.
func (k *clashes) gone(c *container.Summary) bool {
	return slices.ContainsFunc(k.plan.Orphans, func(s Step) bool { return s.Old.ID == c.ID })
}

func of(c *container.Summary) string {
	if name := c.Labels[model.LabelProject]; name != "" {
		return " of project " + name
	}
	return ""
}

// addresses that a file gives are had once in a network.
func (k *clashes) addresses() {
	type place struct{ network, addr string }
	had := map[place]string{}
	for _, name := range k.project.ServiceNames() {
		s := k.project.Services[name]
		for network, c := range s.Networks {
			if c == nil || s.GetScale() == 0 {
				continue
			}
			for _, addr := range []string{c.Ipv4Address, c.Ipv6Address} {
				at := place{network, addr}
				switch other := had[at]; {
				case addr == "":
				case s.GetScale() > 1:
					k.say("service %q has address %s and %d replicas: an address can be had once", name, addr, s.GetScale())
				case other != "":
					k.say("services %q and %q both have address %s on network %s", other, name, addr, network)
				default:
					had[at] = name
				}
			}
		}
	}
}

// ports: among the plan's containers, then against other containers, then against
// other programs.
func (k *clashes) ports() {
	others, own := k.others()
	for i, c := range k.want {
		for _, o := range k.want[:i] {
			if c.meets(o) {
				k.among(o, c)
			}
		}
		if !slices.ContainsFunc(k.fresh, func(s Step) bool { return s.Container == c.id }) {
			continue
		}
		if j := slices.IndexFunc(others, c.meets); j >= 0 {
			k.say("%s %s, which %s has", c.who, c.verb(), others[j].who)
			continue
		}
		addr := c.addr
		if !addr.IsValid() {
			addr = netip.IPv4Unspecified()
		}
		mine := slices.ContainsFunc(own, func(o claim) bool { return o.proto == c.proto && o.port == c.port })
		if k.host.Busy != nil && !mine && k.host.Busy(c.proto, addr, c.port) {
			k.say("%s %s, which another program of the host has", c.who, c.verb())
		}
	}
}

func (c claim) verb() string { return c.how + " port " + c.String() }

// among are two of the plan's own that want one port.
func (k *clashes) among(a, b claim) {
	switch {
	case a.who == b.who && b.how == "publishes":
		k.say("%s publishes port %s and has several replicas: a port of the host can be had once; publish a range, or no port of the host", b.who, b)
	case a.who == b.who:
		k.say("%s listens on port %s and has several replicas, and without network namespaces all containers have the host's network: let each listen on its own address alone, and do not declare the port", b.who, b)
	case a.how == "publishes" && b.how == "publishes":
		k.say("%s and %s both publish port %s", a.who, b.who, b)
	default:
		k.say("%s %s, and %s %s, and without network namespaces all containers have the host's network: let one of them listen on another port", a.who, a.verb(), b.who, b.verb())
	}
}

// others are the ports that other containers have, and those that the project's
// own have now.
func (k *clashes) others() (others, own []claim) {
	for i := range k.host.Containers {
		c := &k.host.Containers[i]
		if c.State != container.StateRunning && c.State != container.StatePaused && c.State != container.StateRestarting {
			continue
		}
		var list []claim
		for _, p := range c.Ports {
			one := claim{proto: p.Type, addr: p.IP, port: p.PublicPort, who: "container " + nameOf(c) + of(c), id: nameOf(c)}
			if p.PublicPort != 0 {
				list = append(list, one)
			}
			if k.host.Shared {
				one.addr, one.port = netip.Addr{}, p.PrivatePort
				list = append(list, one)
			}
		}
		switch {
		case k.own(c):
			own = append(own, list...)
		case !k.gone(c):
			others = append(others, list...)
		}
	}
	return others, own
}
