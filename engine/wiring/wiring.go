// Package wiring brings containers and networks together: which networks a
// container is on, its addresses, names and ports, what its monitor keeps up
// while it runs, and what is swept when the monitor was killed.
//
// The engine calls it; what goes on on the host is the drivers' (package
// net/network).
package wiring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"coracle/engine/record"
	"coracle/net/bridge"
	"coracle/net/hostports"
	"coracle/net/nat"
	"coracle/net/netstack"
	"coracle/net/network"
	"coracle/net/objects"
	"coracle/probe"

	"github.com/moby/moby/api/types/container"
)

// Manager wires the containers of one state directory.
type Manager struct {
	Store  *objects.Store
	Report *probe.Report
	Rung   string // for new containers
	Strict bool
	Warn   func(string)
	// Containers is where records are.
	Containers *record.Store
	// Settle cleans up after a container whose monitor was killed, if it was.
	Settle func(ctx context.Context, id string)
	// Happened is told what was done to the network of that ID: "create",
	// "destroy", and "connect" and "disconnect" of a container that runs. About it
	// are Docker's attributes. It may be nil.
	Happened func(what, id string, about map[string]string)
}

func (m *Manager) happened(what string, n *network.Network, container string) {
	if m.Happened == nil || n == nil {
		return
	}
	about := map[string]string{"name": n.Name, "type": n.Driver}
	if container != "" {
		about["container"] = container
	}
	m.Happened(what, n.ID, about)
}

// New makes a manager of what is known of it, with the store of opt's containers.
func New(m Manager) *Manager {
	m.Store = objects.New(m.Containers.Root(), m.Containers.Run())
	return &m
}

// Driver is the driver of a rung; nil for "host", which wires nothing.
func (m *Manager) Driver(rung string) (network.Driver, error) {
	opt := bridge.Options{Rung: rung}
	switch rung {
	case "host", "":
		return nil, nil
	case "bridge-nft":
		opt.Firewall = nat.NFTables{}
		return bridge.New(opt), nil
	case "bridge-iptables":
		opt.Firewall = nat.IPTables{}
		return bridge.New(opt), nil
	case "bridge-forward":
		opt.Out = m.out
		return bridge.New(opt), nil
	case "netstack":
		return netstack.New(netstack.Options{Run: m.Store.Run()}), nil
	case "hostports":
		return hostports.New(hostports.Options{Run: m.Store.Run()}), nil
	}
	return nil, fmt.Errorf("wiring: this program has no driver %q", rung)
}

// Namespaced tells whether containers of a rung have a network of their own
// unless they ask for the host's.
func Namespaced(rung string) bool {
	switch rung {
	case "bridge-nft", "bridge-iptables", "bridge-forward", "netstack":
		return true
	}
	return false
}

// Wired tells whether c is on networks: not on the host's, on none, or in that of
// another container.
func Wired(c *record.Container) bool {
	m := c.HostConfig.NetworkMode
	return c.Drivers.Wiring != "host" && c.Drivers.Wiring != "" && !m.IsHost() && !m.IsNone() && !m.IsContainer() && !c.Config.NetworkDisabled
}

// Own tells whether c has a network namespace because it is wired.
func Own(c *record.Container) bool { return Wired(c) && Namespaced(c.Drivers.Wiring) }

// Primary is the name of the network that a mode means.
func Primary(m container.NetworkMode) string {
	if m == "" || m.IsDefault() {
		return objects.Bridge
	}
	return string(m)
}

// alive tells whether a container has a monitor, by its lock.
func (m *Manager) alive(id string) bool {
	c := &record.Container{RunDir: filepath.Join(m.Store.Run(), "containers", id)}
	return c.Alive()
}

// bury cleans up after those on a network whose monitors were killed.
func (m *Manager) bury(ctx context.Context, networkID, but string) {
	list, err := m.Store.Endpoints(networkID)
	if err != nil {
		return
	}
	for _, ep := range list {
		if ep.ContainerID == but || m.alive(ep.ContainerID) {
			continue
		}
		m.Settle(ctx, ep.ContainerID)
		// A container that is not there any more cannot be settled.
		if ep, err := m.Store.Endpoint(networkID, ep.ContainerID); err == nil && !m.known(ep.ContainerID) {
			m.release(ctx, ep)
		}
	}
}

func (m *Manager) known(id string) bool {
	_, err := m.Containers.Load(id)
	return err == nil || !errors.Is(err, record.ErrNotFound)
}

// release takes away what the host has of an endpoint, and its lease.
func (m *Manager) release(ctx context.Context, ep *network.Endpoint) error {
	d, err := m.Driver(ep.Rung)
	if err != nil {
		return err
	}
	if d != nil && ep.Boot == record.Boot() {
		s := &network.Sandbox{ContainerID: ep.ContainerID, Container: ep.Container, Endpoints: []*network.Endpoint{ep}, Warn: m.Warn}
		s.RunDir = filepath.Join(m.Store.Run(), "containers", ep.ContainerID)
		if err := d.Sweep(ctx, s); err != nil {
			return err
		}
	}
	return m.free(ep)
}

// free gives a lease back. The bridge stays while its network is there, as with
// Docker: to take it down and up again costs more than all else of a start.
func (m *Manager) free(ep *network.Endpoint) error {
	return m.Store.Free(ep.NetworkID, ep.ContainerID)
}

// Sweep undoes what a killed monitor left of c's wiring.
func (m *Manager) Sweep(ctx context.Context, c *record.Container) error {
	if !Wired(c) {
		return nil
	}
	names, _, err := m.settings(c)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		n, err := m.Store.Named(name)
		if err != nil {
			continue
		}
		ep, err := m.Store.Endpoint(n.ID, c.ID)
		if err != nil {
			continue
		}
		failed = errors.Join(failed, m.release(ctx, ep))
	}
	writePorts(c.RunDir, nil)
	return failed
}

// used are the subnets of the host's routes, but for those of n.
func used(n *network.Network) func() []netip.Prefix {
	return func() []netip.Prefix {
		if n == nil {
			return objects.Used("")
		}
		return objects.Used(n.Interface)
	}
}

// Renamed gives a container that runs its new name on its networks.
func (m *Manager) Renamed(c *record.Container, old string) error {
	if !Wired(c) {
		return nil
	}
	names, _, err := m.settings(c)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := m.Store.Named(name)
		if err != nil {
			return err
		}
		ep, err := m.Store.Endpoint(n.ID, c.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		ep.Container = c.Name
		for i, known := range ep.Names {
			if known == strings.ToLower(old) {
				ep.Names[i] = strings.ToLower(c.Name)
			}
		}
		if err := m.Store.Update(ep); err != nil {
			return err
		}
	}
	return nil
}
