package objects

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"coracle/net/ipam"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
)

// The default networks.
const (
	Bridge = "bridge"
	Host   = "host"
	None   = "none"
)

// ErrInvalid says that a network cannot be made as it was asked for.
var ErrInvalid = errors.New("invalid network")

// ErrForbidden says that nobody may make it.
var ErrForbidden = errors.New("forbidden")

// refuse is an error of the class ErrInvalid whose text is only its own.
func refuse(format string, args ...any) error {
	return &invalidError{fmt.Errorf(format, args...), ErrInvalid}
}

func forbid(format string, args ...any) error {
	return &invalidError{fmt.Errorf(format, args...), ErrForbidden}
}

type invalidError struct{ err, class error }

func (e *invalidError) Error() string        { return e.err.Error() }
func (e *invalidError) Unwrap() error        { return e.err }
func (e *invalidError) Is(target error) bool { return target == e.class }

// Defaults makes the default networks that are not there yet.
func (s *Store) Defaults(used func() []netip.Prefix) error {
	missing := false
	for _, name := range []string{Bridge, Host, None} {
		if _, err := s.Named(name); errors.Is(err, ErrNotFound) {
			missing = true
		} else if err != nil {
			return err
		}
	}
	if !missing {
		return nil
	}
	return s.Locked(func() error {
		for _, name := range []string{Bridge, Host, None} {
			if _, err := s.Named(name); !errors.Is(err, ErrNotFound) {
				continue
			}
			n := &network.Network{Default: true}
			n.Name, n.ID, n.Created, n.Scope, n.EnableIPv4 = name, NewID(), now(), "local", true
			n.IPAM = dnetwork.IPAM{Driver: "default", Config: []dnetwork.IPAMConfig{}}
			n.Options, n.Labels = map[string]string{}, map[string]string{}
			n.Driver = name
			if name == None {
				n.Driver = "null"
			}
			if name == Bridge {
				if err := s.defaultBridge(n, used); err != nil {
					return err
				}
			}
			if err := s.Put(n, true); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) defaultBridge(n *network.Network, used func() []netip.Prefix) error {
	n.Options = map[string]string{
		"com.docker.network.bridge.default_bridge":       "true",
		"com.docker.network.bridge.enable_icc":           "true",
		"com.docker.network.bridge.enable_ip_masquerade": "true",
		"com.docker.network.bridge.host_binding_ipv4":    "0.0.0.0",
		"com.docker.network.driver.mtu":                  "1500",
	}
	if err := s.fill(n, used()); err != nil {
		return err
	}
	n.Options["com.docker.network.bridge.name"] = n.Interface
	return nil
}

// Make makes a network as Docker's API is asked for one. used are the subnets
// that the host has routes to. check, which may be nil, has a word before it is
// written.
func (s *Store) Make(name string, req *dnetwork.CreateRequest, used func() []netip.Prefix, check func(*network.Network) error) (*network.Network, error) {
	n, err := draft(name, req)
	if err != nil {
		return nil, err
	}
	if err := s.Defaults(used); err != nil {
		return nil, err
	}
	err = s.Locked(func() error {
		if _, err := s.Named(name); err == nil {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
		if err := s.fill(n, used()); err != nil {
			return err
		}
		if check != nil {
			if err := check(n); err != nil {
				return err
			}
		}
		return s.Put(n, true)
	})
	return n, err
}

// draft is the object without what depends on others.
func draft(name string, req *dnetwork.CreateRequest) (*network.Network, error) {
	if !ValidName(name) {
		if len(name) > maxName {
			return nil, refuse("invalid network name: it has %d characters, and %d are the bound", len(name), maxName)
		}
		return nil, refuse("invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if slices.Contains([]string{Bridge, Host, None, "default", "container"}, name) {
		return nil, forbid("operation is not permitted on predefined %s network", name)
	}
	if err := checkKind(req); err != nil {
		return nil, err
	}
	n := &network.Network{}
	n.Name, n.ID, n.Created, n.Driver, n.Scope = name, NewID(), now(), "bridge", "local"
	n.Internal, n.Attachable = req.Internal, req.Attachable
	n.EnableIPv4 = req.EnableIPv4 == nil || *req.EnableIPv4
	n.EnableIPv6 = req.EnableIPv6 != nil && *req.EnableIPv6
	n.Options, n.Labels = req.Options, req.Labels
	if n.Options == nil {
		n.Options = map[string]string{}
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.IPAM = dnetwork.IPAM{Driver: "default", Options: map[string]string{}}
	if req.IPAM != nil {
		n.IPAM.Config = slices.Clone(req.IPAM.Config)
		if req.IPAM.Options != nil {
			n.IPAM.Options = req.IPAM.Options
		}
	}
	has := map[bool]bool{}
	for i := range n.IPAM.Config {
		if err := ipam.Complete(&n.IPAM.Config[i]); err != nil {
			return nil, &invalidError{err, ErrInvalid}
		}
		v6 := n.IPAM.Config[i].Subnet.Addr().Is6()
		if has[v6] {
			return nil, forbid("bridge driver doesn't support multiple subnets")
		}
		has[v6] = true
	}
	return n, nil
}

func checkKind(req *dnetwork.CreateRequest) error {
	switch req.Driver {
	case "", "bridge":
	case "host", "null":
		return refuse("only one instance of %q network is allowed", req.Driver)
	case "overlay":
		return refuse("network driver overlay is not supported: networks are of one machine")
	case "macvlan", "ipvlan":
		return refuse("network driver %s is not supported: containers are wired by bridges", req.Driver)
	default:
		return fmt.Errorf("%w: could not find plugin %q", ErrNotFound, req.Driver)
	}
	switch {
	case req.Scope != "" && req.Scope != "local":
		return refuse("scope %q is not supported: networks are of one machine", req.Scope)
	case req.Ingress:
		return refuse("ingress networks are not supported: there is no swarm")
	case req.ConfigOnly || req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return refuse("configuration networks are not supported")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return fmt.Errorf("%w: could not find plugin %q", ErrNotFound, req.IPAM.Driver)
	}
	return nil
}

// fill chooses the subnets that nobody asked for, and the interface's name; with
// the lock of all networks.
func (s *Store) fill(n *network.Network, used []netip.Prefix) error {
	all, err := s.List()
	if err != nil {
		return err
	}
	var ours, loops []netip.Prefix
	for _, o := range all {
		if o.ID == n.ID {
			continue
		}
		loops = append(loops, o.Loopback)
		for _, c := range o.IPAM.Config {
			ours = append(ours, c.Subnet)
		}
	}
	if err := overlaps(n, ours); err != nil {
		return err
	}
	if n.Loopback, err = ipam.Loopback(loops); err != nil {
		return err
	}
	n.Interface = n.Options["com.docker.network.bridge.name"]
	if n.Interface == "" {
		n.Interface = "cr-" + n.ID[:12]
	}
	for _, o := range all {
		if o.ID != n.ID && o.Interface == n.Interface {
			return refuse("cannot create network %s (%s): conflicts with network %s (%s): networks have same bridge name", n.ID, n.Interface, o.ID, o.Interface)
		}
	}
	return s.subnets(n, append(ours, used...))
}

// overlaps refuses subnets that others of ours have, or that n has twice.
func overlaps(n *network.Network, ours []netip.Prefix) error {
	for _, c := range n.IPAM.Config {
		if ipam.Overlap(c.Subnet, ours) != nil {
			return &invalidError{fmt.Errorf("invalid pool request: %w", ipam.ErrOverlap), ErrInvalid}
		}
		ours = append(ours, c.Subnet)
	}
	return nil
}

// subnets adds one of each family that has none.
func (s *Store) subnets(n *network.Network, taken []netip.Prefix) error {
	has := map[bool]bool{}
	for _, c := range n.IPAM.Config {
		has[c.Subnet.Addr().Is6()] = true
	}
	if has[true] {
		n.EnableIPv6 = true
	}
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return refuse("IPv4 or IPv6 must be enabled")
	}
	add := func(p netip.Prefix, err error) error {
		if err != nil {
			return err
		}
		c := dnetwork.IPAMConfig{Subnet: p}
		n.IPAM.Config, n.Chosen = append(n.IPAM.Config, c), append(n.Chosen, p)
		return ipam.Complete(&n.IPAM.Config[len(n.IPAM.Config)-1])
	}
	if n.EnableIPv4 && !has[false] {
		if err := add(ipam.Subnet(taken)); err != nil {
			return err
		}
	}
	if n.EnableIPv6 && !has[true] {
		sum := sha256.Sum256([]byte(s.root + n.ID))
		return add(ipam.Local([5]byte(sum[:5]), taken))
	}
	return nil
}

// Again chooses the subnets of a network of which nobody asked for any again,
// because the host has come to use them: with nobody on it.
func (s *Store) Again(n *network.Network, used []netip.Prefix) error {
	if len(n.Chosen) == 0 {
		return nil
	}
	return s.Locked(func() error {
		now, err := s.Named(n.Name)
		if err != nil {
			return err
		}
		if list, err := s.Endpoints(n.ID); err != nil || len(list) > 0 {
			return err
		}
		now.IPAM.Config = slices.DeleteFunc(now.IPAM.Config, func(c dnetwork.IPAMConfig) bool { return slices.Contains(now.Chosen, c.Subnet) })
		now.Chosen = nil
		if err := s.fill(now, used); err != nil {
			return err
		}
		if err := s.Put(now, false); err != nil {
			return err
		}
		*n = *now
		return nil
	})
}
