package format

import (
	"strconv"

	"github.com/moby/moby/api/types/network"
)

// Network is a row of network ls. The fields are in the order of `--format json`.
type Network struct {
	CreatedAt, Driver, ID, IPv4, IPv6, Internal, Labels, Name, Scope string

	labels map[string]string
}

// Label is the value of one label.
func (n Network) Label(name string) string { return n.labels[name] }

// TemplateMethod is the methods that a template may call.
func (n Network) TemplateMethod(name string) any { return labelOnly(name, n.Label) }

// Networks is how network ls prints rows.
func Networks(format string, quiet bool) List {
	l := List{
		Format: format,
		Table:  "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
		Header: Header{
			"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
			"Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
		},
	}
	if quiet {
		l.Quiet = "{{.ID}}"
	}
	return l
}

// NetworkRow makes a row of n; trunc shortens what is long.
func NetworkRow(n *network.Inspect, trunc bool) Network {
	row := Network{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: n.Scope, CreatedAt: n.Created.String(), Labels: pairs(n.Labels),
		IPv4: strconv.FormatBool(n.EnableIPv4), IPv6: strconv.FormatBool(n.EnableIPv6), Internal: strconv.FormatBool(n.Internal),
		labels: n.Labels,
	}
	if trunc {
		row.ID = ShortID(n.ID)
	}
	return row
}
