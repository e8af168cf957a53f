// Package network is the contract of wiring: what a network, an endpoint and a
// published port are, and what a wiring driver does with them.
//
// # Vocabulary
//
// A [Network] is an object that a user makes and names; it is on disk, Docker's
// JSON, and outlives a boot. An [Endpoint] is a container's place on a network:
// addresses, names, a hardware address. It is a file in the network's directory
// of those that run ([Dir]), made before the container's first process and
// removed after its last; the file is the lease of its addresses, and it is what
// name servers read. A [Publish] is a range of the container's ports that can be
// reached from outside by ports of the host. A [Sandbox] is what one run of a
// container has of all that.
//
// # Lifecycle
//
// The monitor writes the endpoints, and calls Open beside the rest of the start:
// the driver does on the host what needs no process (the bridge, the ports of
// the host). The second stage is forked, and Attach is called with its PID while
// it has touched nothing; then the stage does what Inside says in the
// container's own network namespace, where there is one, and hands the
// descriptors that were asked for to Opened, before the program is executed.
// Connect and Disconnect come while the container runs; Close when its last
// process is gone. All of these are calls of one process, the monitor.
//
//	Open → Attach(pid) → Inside() → Opened(files) → {Connect, Disconnect} → Close
//
// Where the monitor was killed, whoever meets the container next calls Sweep,
// which undoes what Close would have, knowing nothing but what is on disk. It is
// called more than once, and also where there is nothing to do. What the kernel
// takes away with a process or a namespace needs no sweeping; a driver leaves to
// Sweep as little as it can.
//
// # What a rung cannot honour
//
// A driver says so by [Cannot] in what Open and Check return; the engine warns,
// or fails under --strict. What would be wrong to go without (a port that is
// taken) is an error.
package network

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"

	"coracle/backends/isolate"

	dnetwork "github.com/moby/moby/api/types/network"
)

// Driver is one rung of wiring. Its methods may be called from several
// goroutines.
type Driver interface {
	// Name is the rung's name in backends/all.go.
	Name() string
	// Kind is shared by rungs whose containers reach each other on one network:
	// "bridge", "netstack", "hostports".
	Kind() string
	// Namespace tells whether containers have network namespaces of their own.
	Namespace() bool
	// Check is asked when a network is made: what it asks for that this rung
	// does not give, and an error where an option cannot be understood. It may
	// fill in options that stay with the network.
	Check(n *Network) ([]Cannot, error)
	// Open begins to wire a sandbox. What it did is undone where it fails.
	Open(ctx context.Context, s *Sandbox) (Wiring, []Cannot, error)
	// Sweep undoes what a killed monitor left of a sandbox on the host.
	Sweep(ctx context.Context, s *Sandbox) error
	// Remove takes away what the host has of a network that no container is on,
	// when it is removed.
	Remove(ctx context.Context, n *Network) error
}

// Wiring is one sandbox being wired, and then wired.
type Wiring interface {
	// Attach is called with the host PID of the container's first process,
	// before that has touched anything; in the process that called Open. Not
	// called where the container has no network namespace of its own.
	Attach(pid int) error
	// Inside is what the second stage is to do in the container's namespace,
	// asked after Attach; nil for nothing.
	Inside() (*isolate.Net, error)
	// Opened gives the descriptors that Inside asked for, by their names, to
	// the driver, which closes them.
	Opened(files map[string]*os.File) error
	// Ports are the published ports as they are: with the host ports that were
	// chosen.
	Ports() []Publish
	// Connect and Disconnect change a container that runs, and the Endpoints of
	// the sandbox, whose Networks has the network. do runs what is to
	// be done in the container's namespace and returns the descriptors.
	Connect(ctx context.Context, ep *Endpoint, do Doer) error
	Disconnect(ctx context.Context, ep *Endpoint, do Doer) error
	// Close undoes all on the host.
	Close() error
}

// Doer does something in the network namespace of a container that runs.
type Doer func(ctx context.Context, what *isolate.Net) (map[string]*os.File, error)

// Network is a network: Docker's object, with what we keep beside it.
type Network struct {
	Format int
	dnetwork.Network
	// Default is one of bridge, host and none, which are always there.
	Default bool `json:",omitempty"`
	// Chosen are those of its subnets that were chosen by us, and may be chosen
	// again where the host has come to use them while nobody was on the network.
	Chosen []netip.Prefix `json:",omitempty"`
	// Loopback is the subnet of 127.0.0.0/8 that endpoints have their addresses
	// of where containers have the host's network (hostports).
	Loopback netip.Prefix
	// Together: who made it was told that nothing keeps it apart from others
	// (a rung without network namespaces).
	Together bool `json:",omitempty"`
	// Interface is the name of the network's interface on the host, where its
	// rung has one.
	Interface string `json:",omitempty"`
}

// Endpoint is a container's place on a network.
type Endpoint struct {
	Format      int
	ID          string // 64 hexadecimal digits
	NetworkID   string
	NetworkName string
	ContainerID string
	// Container is the container's name, without a slash.
	Container string
	// Names are what the name server answers with this endpoint's addresses, in
	// lower case: the container's name, which reverse lookups give, its short
	// ID, and the aliases. Several endpoints may have the same.
	Names []string
	// Links are names that only this container knows: alias to container ID, or on
	// a network of users' to a name, of whoever has it then.
	Links map[string]string `json:",omitempty"`
	// Addresses with the length of the network's prefix; the zero value: none.
	IPv4, IPv6 netip.Prefix
	LinkLocal  []netip.Addr `json:",omitempty"`
	// Gateways; not valid on an internal network.
	Gateway4, Gateway6 netip.Addr
	MAC                dnetwork.HardwareAddr
	// Inner is the interface's name in the container, Outer on the host.
	Inner, Outer string `json:",omitempty"`
	// Rung is the wiring of the container, Boot the boot that it is of.
	Rung, Boot string
	// GwPriority: the highest has the default route; of equals the first by
	// the network's name.
	GwPriority int               `json:",omitempty"`
	DriverOpts map[string]string `json:",omitempty"`
	// Asked is what the user asked for.
	Asked *dnetwork.EndpointIPAMConfig `json:",omitempty"`
	// Exposed are the ports that the image or the user declared, and that other
	// containers may want on this endpoint's address: what hostports carries.
	Exposed []PortRange `json:",omitempty"`
	// Ports are where declared ports are really found, where that is not the
	// same port of this endpoint's address (hostports).
	Ports []Real `json:",omitempty"`
}

// Is tells whether a container ID or a name is the endpoint's.
func (ep *Endpoint) Is(ref string) bool {
	return ref == ep.ContainerID || slices.Contains(ep.Names, strings.ToLower(ref))
}

// Sysctls are those of the interface in the container: without an IPv6 address it has
// no IPv6 at all, as with Docker.
func (ep *Endpoint) Sysctls() []isolate.NetSysctl {
	conf := "ipv6/conf/" + ep.Inner + "/"
	if !ep.IPv6.IsValid() {
		return []isolate.NetSysctl{{Path: conf + "disable_ipv6", Value: "1"}}
	}
	return []isolate.NetSysctl{{Path: conf + "disable_ipv6", Value: "0"}, {Path: conf + "accept_ra", Value: "0"}}
}

// PortRange is Count ports from First on; Proto is "tcp", "udp" or "sctp".
type PortRange struct {
	Proto string
	First uint16
	Count uint16
}

// Real says that a declared port is served at another place of the host.
type Real struct {
	Proto string
	Port  uint16
	At    netip.AddrPort
}

// Publish is a range of ports: host port Host+i leads to the container's Port+i,
// for i below Count.
type Publish struct {
	Proto string // "tcp", "udp", "sctp"
	// HostIP; not valid: all addresses of the host, IPv4 and IPv6.
	HostIP netip.Addr
	// Host is the first port; 0: one that is free is chosen. Last, where above
	// Host and Count is 1, makes it one of Host to Last that is free.
	Host, Last uint16
	Port       uint16
	Count      uint16
}

// Sandbox is what one run of a container has of wiring.
type Sandbox struct {
	ContainerID string
	Container   string // its name
	// RunDir is a private directory of the container that does not outlive a
	// boot; a driver may keep files there, whose names begin with its rung's.
	RunDir string
	// Endpoints in the order of their interfaces: eth0, eth1, … None: the
	// container has loopback only.
	Endpoints []*Endpoint
	// Networks are those of the endpoints, by ID.
	Networks map[string]*Network
	Publish  []Publish
	// UserNS: the container is in a user namespace, and we are not root.
	UserNS bool
	// Warn receives one line a warning, also later.
	Warn func(string)
}

// Network is the network that ep is on.
func (s *Sandbox) Network(ep *Endpoint) *Network { return s.Networks[ep.NetworkID] }

// Cannot is one thing that a rung cannot honour.
type Cannot struct {
	What string // in the words of the flags: "--internal"
	Why  string
}

func (c Cannot) String() string { return c.What + ": " + c.Why }

// Internal tells whether none of the sandbox's networks leads out.
func (s *Sandbox) Internal() bool {
	for _, ep := range s.Endpoints {
		if !s.Network(ep).Internal {
			return false
		}
	}
	return true
}
