package format

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
)

// run is ports of a container that follow each other, published at the same ports
// of one address, or at none.
type run struct {
	p    container.PortSummary // the first
	last uint16
}

func (r run) String() string {
	text := fmt.Sprint(r.p.PrivatePort)
	if r.last != r.p.PrivatePort {
		text += fmt.Sprint("-", r.last)
	}
	if r.p.IP.IsValid() {
		text = at(r.p) + text + "->" + text
	}
	return text + "/" + r.p.Type
}

// at is an address as it stands before a port.
func at(p container.PortSummary) string {
	if p.IP.Is6() {
		return "[" + p.IP.String() + "]:"
	}
	return p.IP.String() + ":"
}

// ports are a column as docker writes it: ports that follow each other as ranges,
// then those that are published at another port.
func ports(list []container.PortSummary) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), a.IP.Compare(b.IP), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.Type, b.Type))
	})
	var done, moved []string
	var open []run
	for _, p := range list {
		if p.IP.IsValid() && p.PublicPort != p.PrivatePort {
			moved = append(moved, fmt.Sprintf("%s%d->%d/%s", at(p), p.PublicPort, p.PrivatePort, p.Type))
			continue
		}
		i := slices.IndexFunc(open, func(r run) bool { return r.p.IP == p.IP && r.p.Type == p.Type })
		switch {
		case i < 0:
			open = append(open, run{p, p.PrivatePort})
		case p.PrivatePort == open[i].last+1:
			open[i].last++
		default:
			done = append(done, open[i].String())
			open[i] = run{p, p.PrivatePort}
		}
	}
	for _, r := range open {
		done = append(done, r.String())
	}
	return strings.Join(append(done, moved...), ", ")
}
