package format

import (
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/container"
)

// TestPorts: what docker 28.2's ps writes of the same.
func TestPorts(t *testing.T) {
	port := func(ip string, public, private uint16, kind string) container.PortSummary {
		p := container.PortSummary{PublicPort: public, PrivatePort: private, Type: kind}
		if ip != "" {
			p.IP = netip.MustParseAddr(ip)
		}
		return p
	}
	var list []container.PortSummary
	for i := range uint16(3) {
		list = append(list, port("0.0.0.0", 8000+i, 8000+i, "tcp"), port("::", 8000+i, 8000+i, "tcp"))
	}
	list = append(list, port("127.0.0.1", 7000, 7000, "tcp"), port("127.0.0.1", 7001, 7001, "tcp"), port("0.0.0.0", 9000, 9000, "udp"),
		port("", 0, 5000, "tcp"), port("", 0, 5001, "tcp"), port("", 0, 5003, "tcp"), port("0.0.0.0", 18080, 80, "tcp"), port("::", 18080, 80, "tcp"))
	want := "5000-5001/tcp, 5003/tcp, 127.0.0.1:7000-7001->7000-7001/tcp, 0.0.0.0:8000-8002->8000-8002/tcp, [::]:8000-8002->8000-8002/tcp, " +
		"0.0.0.0:9000->9000/udp, 0.0.0.0:18080->80/tcp, [::]:18080->80/tcp"
	if got := ports(list); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := ports(nil); got != "" {
		t.Errorf("no ports: %q", got)
	}
}
