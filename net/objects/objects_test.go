package objects

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"coracle/net/ipam"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
)

func none() []netip.Prefix { return nil }

func store(t *testing.T) *Store { return New(t.TempDir(), t.TempDir()) }

func TestDefaults(t *testing.T) {
	s := store(t)
	used := func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16")} }
	for range 2 {
		if err := s.Defaults(used); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.List()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d networks, %v", len(all), err)
	}
	b, err := s.Named(Bridge)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.IPAM.Config[0]; got.Subnet.String() != "172.18.0.0/16" || got.Gateway.String() != "172.18.0.1" {
		t.Errorf("subnet %+v: the host has a route to 172.17.0.0/16", got)
	}
	if n, err := s.Named(None); err != nil || n.Driver != "null" {
		t.Errorf("none: %+v, %v", n, err)
	}
	if n, err := s.Find(b.ID[:7]); err != nil || n.Name != Bridge {
		t.Errorf("by the beginning of its ID: %v, %v", n, err)
	}
}

func TestMakeAndRemove(t *testing.T) {
	s := store(t)
	n, err := s.Make("front", &dnetwork.CreateRequest{Labels: map[string]string{"a": "b"}}, none, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n.IPAM.Config[0].Subnet.String() != "172.18.0.0/16" {
		t.Errorf("subnet %v", n.IPAM.Config)
	}
	if _, err := s.Make("front", &dnetwork.CreateRequest{}, none, nil); !errors.Is(err, ErrExists) {
		t.Errorf("again: %v", err)
	}
	overlap := &dnetwork.CreateRequest{IPAM: &dnetwork.IPAM{Config: []dnetwork.IPAMConfig{{Subnet: netip.MustParsePrefix("172.18.4.0/24")}}}}
	if _, err := s.Make("other", overlap, none, nil); !errors.Is(err, ipam.ErrOverlap) {
		t.Errorf("overlap: %v", err)
	}
	ep := endpoint(n, strings.Repeat("a", 64))
	if err := s.Lease(n, ep, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(n, func() error { return nil }); !errors.Is(err, ErrInUse) {
		t.Errorf("removed with somebody on it: %v", err)
	}
	if err := s.Free(n.ID, ep.ContainerID); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(n, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Named("front"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after removal: %v", err)
	}
	if err := s.Lease(n, ep, false, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("a lease on a removed network: %v", err)
	}
	if _, err := os.Stat(s.Dir(n.ID)); !os.IsNotExist(err) {
		t.Errorf("its directory: %v", err)
	}
}

func TestRefusedNetworks(t *testing.T) {
	s := store(t)
	for name, req := range map[string]*dnetwork.CreateRequest{
		strings.Repeat("x", 300): {}, "": {}, "../x": {}, "a b": {}, "bridge": {}, "host": {}, "none": {},
		"a": {Driver: "host"}, "b": {Driver: "overlay"}, "c": {Driver: "weave"}, "d": {Scope: "swarm"}, "e": {ConfigOnly: true},
		"f": {IPAM: &dnetwork.IPAM{Config: []dnetwork.IPAMConfig{{Gateway: netip.MustParseAddr("10.0.0.1")}}}},
	} {
		if n, err := s.Make(name, req, none, nil); err == nil {
			t.Errorf("%q, %+v: made %s", name, req, n.ID)
		}
	}
}

func endpoint(n *network.Network, container string) *network.Endpoint {
	return &network.Endpoint{ID: NewID(), NetworkID: n.ID, NetworkName: n.Name, ContainerID: container, Boot: "b"}
}

// Many at once: nobody gets the address of another.
func TestLeasesDiffer(t *testing.T) {
	s := store(t)
	n, err := s.Make("n", &dnetwork.CreateRequest{}, none, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			id := strings.Repeat(string("0123456789abcdef"[i%16]), 63) + string("0123456789abcdef"[i/16])
			if err := s.Lease(n, endpoint(n, id), false, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err := s.Endpoints(n.ID)
	if err != nil || len(list) != 40 {
		t.Fatalf("%d endpoints, %v", len(list), err)
	}
	seen := map[netip.Addr]string{}
	for _, ep := range list {
		if other := seen[ep.IPv4.Addr()]; other != "" {
			t.Errorf("%s is leased to %s and %s", ep.IPv4, other, ep.ContainerID)
		}
		seen[ep.IPv4.Addr()] = ep.ContainerID
	}
	taken := endpoint(n, strings.Repeat("f", 64))
	taken.Asked = &dnetwork.EndpointIPAMConfig{IPv4Address: list[0].IPv4.Addr()}
	if err := s.Lease(n, taken, false, nil); !errors.Is(err, ipam.ErrTaken) {
		t.Errorf("the address of another: %v", err)
	}
	// Of another boot: nobody's.
	old := *list[1]
	old.Boot = "earlier"
	if err := s.Update(&old); err != nil {
		t.Fatal(err)
	}
	taken.Asked.IPv4Address = old.IPv4.Addr()
	if err := s.Lease(n, taken, false, nil); err != nil {
		t.Errorf("the address of an earlier boot's: %v", err)
	}
}
