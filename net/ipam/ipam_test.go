package ipam

import (
	"errors"
	"net/netip"
	"testing"

	dnetwork "github.com/moby/moby/api/types/network"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestSubnetSkipsWhatIsTaken(t *testing.T) {
	for _, tc := range []struct {
		taken []string
		want  string
	}{
		{nil, "172.17.0.0/16"},
		{[]string{"172.17.0.0/16"}, "172.18.0.0/16"},
		{[]string{"172.17.5.0/24", "172.18.1.1/32", "172.19.0.0/24"}, "172.20.0.0/16"},
		{[]string{"172.16.0.0/12"}, "192.168.0.0/20"},
		{[]string{"172.16.0.0/12", "192.168.1.0/24"}, "192.168.16.0/20"},
	} {
		var taken []netip.Prefix
		for _, s := range tc.taken {
			taken = append(taken, prefix(s))
		}
		got, err := Subnet(taken)
		if err != nil || got != prefix(tc.want) {
			t.Errorf("with %v taken: %v, %v, want %s", tc.taken, got, err, tc.want)
		}
	}
	if got, err := Subnet([]netip.Prefix{prefix("172.16.0.0/12"), prefix("192.168.0.0/16")}); !errors.Is(err, ErrPools) {
		t.Errorf("with all pools taken: %v, %v", got, err)
	}
}

func TestAddressIsTheLowestFreeOne(t *testing.T) {
	c := &dnetwork.IPAMConfig{Subnet: prefix("10.1.0.0/29"), AuxAddress: map[string]netip.Addr{"router": netip.MustParseAddr("10.1.0.3")}}
	if err := Complete(c); err != nil {
		t.Fatal(err)
	}
	if c.Gateway.String() != "10.1.0.1" {
		t.Errorf("gateway %s", c.Gateway)
	}
	taken := map[netip.Addr]bool{}
	var got []string
	for {
		a, err := Address(c, netip.Addr{}, taken)
		if err != nil {
			if !errors.Is(err, ErrExhausted) {
				t.Errorf("at the end: %v", err)
			}
			break
		}
		taken[a.Addr()] = true
		got = append(got, a.String())
	}
	// .0 is the network, .1 the gateway, .3 the router's, .7 the broadcast address.
	want := []string{"10.1.0.2/29", "10.1.0.4/29", "10.1.0.5/29", "10.1.0.6/29"}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestAskedAddress(t *testing.T) {
	c := &dnetwork.IPAMConfig{Subnet: prefix("10.1.0.0/24"), IPRange: prefix("10.1.0.128/25")}
	if err := Complete(c); err != nil {
		t.Fatal(err)
	}
	if c.Gateway.String() != "10.1.0.128" {
		t.Errorf("gateway of a range: %s", c.Gateway)
	}
	if a, err := Address(c, netip.Addr{}, nil); err != nil || a.String() != "10.1.0.129/24" {
		t.Errorf("first of the range: %v, %v", a, err)
	}
	if a, err := Address(c, netip.MustParseAddr("10.1.0.7"), nil); err != nil || a.String() != "10.1.0.7/24" {
		t.Errorf("asked outside of the range, inside the subnet: %v, %v", a, err)
	}
	for _, bad := range []string{"10.2.0.1", "10.1.0.0", "10.1.0.255", "10.1.0.128", "fd00::1"} {
		if a, err := Address(c, netip.MustParseAddr(bad), nil); err == nil {
			t.Errorf("%s was given: %s", bad, a)
		}
	}
}

func TestCompleteRefuses(t *testing.T) {
	for _, c := range []dnetwork.IPAMConfig{
		{},
		{Subnet: netip.MustParsePrefix("10.1.0.1/24")},
		{Subnet: prefix("10.1.0.0/31")},
		{Subnet: prefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.2.0.1")},
		{Subnet: prefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.0")},
		{Subnet: prefix("10.1.0.0/24"), Gateway: netip.MustParseAddr("10.1.0.255")},
		{Subnet: prefix("10.1.0.0/24"), IPRange: prefix("10.1.0.0/16")},
		{Subnet: prefix("10.1.0.0/24"), AuxAddress: map[string]netip.Addr{"a": netip.MustParseAddr("10.9.0.1")}},
		{Subnet: prefix("10.1.0.0/24"), AuxAddress: map[string]netip.Addr{"a": netip.MustParseAddr("10.1.0.1")}},
	} {
		if err := Complete(&c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestLastAndLocal(t *testing.T) {
	for p, want := range map[string]string{"10.1.0.0/24": "10.1.0.255", "10.0.0.0/8": "10.255.255.255", "fd00::/64": "fd00::ffff:ffff:ffff:ffff"} {
		if got := Last(prefix(p)); got.String() != want {
			t.Errorf("last of %s: %s, want %s", p, got, want)
		}
	}
	a, err := Local([5]byte{1, 2, 3, 4, 5}, nil)
	if err != nil || a.String() != "fd01:203:405::/64" {
		t.Errorf("local: %v, %v", a, err)
	}
	if b, err := Local([5]byte{1, 2, 3, 4, 5}, []netip.Prefix{a}); err != nil || b.String() != "fd01:203:405:1::/64" {
		t.Errorf("second local: %v, %v", b, err)
	}
}
