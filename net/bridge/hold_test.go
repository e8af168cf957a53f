package bridge

import (
	"net/netip"
	"testing"

	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
	"golang.org/x/net/bpf"
)

// frame is an Ethernet frame: source, type, and the addresses where they belong.
func frameOf(mac byte, kind uint16, from, to string) []byte {
	f := make([]byte, 14+40)
	copy(f[6:], []byte{2, 0x42, 10, 1, 0, mac})
	f[12], f[13] = byte(kind>>8), byte(kind)
	at := map[uint16]int{0x0800: offIPv4, 0x0806: offARP, 0x86dd: offIPv6}[kind]
	if at > 0 {
		n := copy(f[at:], netip.MustParseAddr(from).AsSlice())
		if kind != 0x0806 {
			copy(f[at+n:], netip.MustParseAddr(to).AsSlice())
		}
	}
	return f
}

func TestGuard(t *testing.T) {
	subnets := []dnetwork.IPAMConfig{{Subnet: netip.MustParsePrefix("10.1.0.0/24")}, {Subnet: netip.MustParsePrefix("fd00:1::/64")}}
	ep := &network.Endpoint{
		MAC:  dnetwork.HardwareAddr{2, 0x42, 10, 1, 0, 2},
		IPv4: netip.MustParsePrefix("10.1.0.2/24"), IPv6: netip.MustParsePrefix("fd00:1::2/64"),
	}
	for _, tc := range []struct {
		what         string
		frame        []byte
		open, closed int
	}{
		{"its own", frameOf(2, 0x0800, "10.1.0.2", "10.1.0.3"), pass, pass},
		{"another's address", frameOf(2, 0x0800, "10.1.0.3", "10.1.0.1"), drop, drop},
		{"the gateway's address", frameOf(2, 0x0800, "10.1.0.1", "10.1.0.3"), drop, drop},
		{"another's hardware", frameOf(3, 0x0800, "10.1.0.2", "10.1.0.3"), drop, drop},
		{"from behind it", frameOf(2, 0x0800, "192.0.2.1", "10.1.0.3"), pass, drop},
		{"to another network", frameOf(2, 0x0800, "10.1.0.2", "10.2.0.3"), pass, drop},
		{"ARP, its own", frameOf(2, 0x0806, "10.1.0.2", ""), pass, pass},
		{"ARP, another's", frameOf(2, 0x0806, "10.1.0.3", ""), drop, drop},
		{"IPv6, its own", frameOf(2, 0x86dd, "fd00:1::2", "fd00:1::3"), pass, pass},
		{"IPv6, another's", frameOf(2, 0x86dd, "fd00:1::3", "fd00:1::1"), drop, drop},
		{"IPv6, of the link", frameOf(2, 0x86dd, "fe80::1", "ff02::1"), pass, pass},
		{"IPv6, to another network", frameOf(2, 0x86dd, "fd00:1::2", "fd00:2::3"), pass, drop},
		{"IPv6, asking for a neighbour", frameOf(2, 0x86dd, "fd00:1::2", "ff02::1:ff00:3"), pass, pass},
		{"something else", frameOf(2, 0x88cc, "", ""), pass, pass},
	} {
		for closed, want := range map[bool]int{false: tc.open, true: tc.closed} {
			vm, err := bpf.NewVM(guard(subnets, ep, closed))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := vm.Run(tc.frame); err != nil || got != want {
				t.Errorf("%s (closed %v): verdict %d, %v, want %d", tc.what, closed, got, err, want)
			}
		}
	}
}
