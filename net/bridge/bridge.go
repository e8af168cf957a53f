// Package bridge wires containers by veth pairs and a bridge for each network,
// as Docker does, with package nat for the way out, isolation and published
// ports. With no packet filter, published ports are carried by a process of
// ours, and so is the way out, by whom the driver is given ([Options.Out]).
package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"coracle/net/nat"
	"coracle/net/network"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Options are what a rung is made of.
type Options struct {
	Rung string
	// Firewall is nil where there is none.
	Firewall nat.Firewall
	// Out carries what a container sends out of its network, where there is no
	// packet filter that translates addresses; nil: there is no way out then.
	Out func(Outward) (io.Closer, error)
}

// Outward is an endpoint with a way out. Wire gives its frames for others than its
// network and takes frames for it, each behind a struct virtio_net_hdr.
type Outward struct {
	Network  *network.Network
	Endpoint *network.Endpoint
	MTU      int
	Wire     *os.File
}

// Driver is the rungs bridge-nft, bridge-iptables and bridge-forward.
type Driver struct{ opt Options }

var _ network.Driver = (*Driver)(nil)

// New makes the driver.
func New(opt Options) *Driver { return &Driver{opt} }

// Name is the rung's.
func (d *Driver) Name() string { return d.opt.Rung }

// Kind is "bridge".
func (d *Driver) Kind() string { return "bridge" }

// Namespace is true.
func (d *Driver) Namespace() bool { return true }

// options of Docker's bridge driver that change nothing here, or are read.
func known(name string) bool {
	switch name {
	case optName, optICC, optMasq, optMTU, "com.docker.network.bridge.default_bridge",
		"com.docker.network.bridge.host_binding_ipv4", "com.docker.network.bridge.trusted_host_interfaces",
		"com.docker.network.container_iface_prefix", "com.docker.network.bridge.inhibit_ipv4",
		"com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6":
		return true
	}
	return false
}

const (
	optName = "com.docker.network.bridge.name"
	optICC  = "com.docker.network.bridge.enable_icc"
	optMasq = "com.docker.network.bridge.enable_ip_masquerade"
	optMTU  = "com.docker.network.driver.mtu"
)

// Check reads the options of a network.
func (d *Driver) Check(n *network.Network) ([]network.Cannot, error) {
	if name := n.Interface; len(name) >= unix.IFNAMSIZ || slices.ContainsFunc([]byte(name), func(c byte) bool { return c == '/' || c <= ' ' }) {
		return nil, fmt.Errorf("invalid bridge name %q: it has to be shorter than %d characters, without spaces and slashes", name, unix.IFNAMSIZ)
	}
	if m, ok := n.Options[optMTU]; ok {
		if v, err := strconv.Atoi(m); err != nil || v < 68 || v > 65535 {
			return nil, fmt.Errorf("invalid MTU %q", m)
		}
	}
	for _, name := range []string{optICC, optMasq} {
		if v, ok := n.Options[name]; ok {
			if _, err := strconv.ParseBool(v); err != nil {
				return nil, fmt.Errorf("failed to parse %s value: %s (%w)", name, v, err)
			}
		}
	}
	var not []network.Cannot
	for name := range n.Options {
		switch mode := n.Options[name]; {
		case !known(name):
			not = append(not, network.Cannot{What: "--opt " + name, Why: "this option is not known"})
		case (name == "com.docker.network.bridge.gateway_mode_ipv4" || name == "com.docker.network.bridge.gateway_mode_ipv6") && mode != "nat",
			name == "com.docker.network.bridge.inhibit_ipv4", name == "com.docker.network.bridge.trusted_host_interfaces":
			not = append(not, network.Cannot{What: "--opt " + name + "=" + mode, Why: "it is not done"})
		}
	}
	return not, nil
}

func option(n *network.Network, name string, otherwise bool) bool {
	if b, err := strconv.ParseBool(n.Options[name]); err == nil {
		return b
	}
	return otherwise
}

// rules are what the packet filter is to know of a network.
func rules(n *network.Network) *nat.Network {
	r := &nat.Network{
		ID: n.ID, Bridge: n.Interface, Internal: n.Internal,
		ICC: option(n, optICC, true), Masquerade: option(n, optMasq, true),
	}
	for _, c := range n.IPAM.Config {
		r.Subnets = append(r.Subnets, c.Subnet)
	}
	return r
}

// raise makes a network's bridge and rules, where they are not there.
func (d *Driver) raise(h *netlink.Handle, n *network.Network) (int, error) {
	index, err := up(h, n)
	if err != nil {
		return 0, err
	}
	if d.opt.Firewall == nil {
		return index, nil
	}
	if !n.Internal {
		for v6, has := range map[bool]bool{false: n.EnableIPv4, true: n.EnableIPv6} {
			if !has {
				continue
			}
			if err := forwarding(v6); err != nil {
				return 0, err
			}
		}
	}
	return index, d.allow(n)
}

// allow puts the network's rules where they are not, and sees to it that others'
// do not stand in the way.
func (d *Driver) allow(n *network.Network) error {
	r := rules(n)
	if !d.opt.Firewall.HasNetwork(r) {
		if err := d.opt.Firewall.PutNetwork(r); err != nil {
			return err
		}
	}
	return nat.LetPass(d.opt.Firewall, r)
}

// Obstacles says what in the host's packet filter may keep the containers of a
// network from each other.
func (d *Driver) Obstacles(n *network.Network) []string {
	if d.opt.Firewall == nil {
		return nil
	}
	return nat.Obstacles(d.opt.Firewall, rules(n))
}

// Remove takes the bridge and its rules away.
func (d *Driver) Remove(_ context.Context, n *network.Network) error {
	if n.Interface == "" {
		return nil
	}
	var err error
	if d.opt.Firewall != nil {
		err = d.opt.Firewall.DropNetwork(n.ID)
	}
	h, e := netlink.NewHandle(unix.NETLINK_ROUTE)
	if e != nil {
		return errors.Join(err, e)
	}
	defer h.Close()
	return errors.Join(err, down(h, n.Interface))
}

// Sweep takes away a container's interfaces and rules.
func (d *Driver) Sweep(_ context.Context, s *network.Sandbox) error {
	var err error
	if d.opt.Firewall != nil {
		err = d.opt.Firewall.DropContainer(s.ContainerID)
	}
	h, e := netlink.NewHandle(unix.NETLINK_ROUTE)
	if e != nil {
		return errors.Join(err, e)
	}
	defer h.Close()
	for _, ep := range s.Endpoints {
		err = errors.Join(err, down(h, ep.Outer))
	}
	return err
}
