package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	dnetwork "github.com/moby/moby/api/types/network"
)

// native is a word as this machine's kernel prints it.
func native(a string) string {
	b := netip.MustParseAddr(a).As4()
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
}

// boat is a container whose processes are in a made-up /proc.
func boat(t *testing.T, proc, name string, pid int, listen string, on map[string]string) *container.InspectResponse {
	t.Helper()
	dir := fmt.Sprintf("%s/%d", proc, pid)
	for path, text := range map[string]string{
		"net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n" +
			"eth0 " + native("10.9.0.0") + " 00000000 0001 0 0 0 " + native("255.255.255.0") + " 0 0 0\n",
		"net/ipv6_route": "fd000009000000000000000000000000 40 " + strings.Repeat("0", 32) + " 00 " + strings.Repeat("0", 32) + " 00000100 00000001 00000000 00000001 eth0\n",
		"net/tcp":        "sl local_address rem_address st\n" + listen,
	} {
		if err := os.MkdirAll(dir+"/net", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(dir+"/ns", 0o755); err != nil {
		t.Fatal(err)
	}
	os.Symlink("net:["+name+"]", dir+"/ns/net")
	c := &container.InspectResponse{Name: "/" + name, State: &container.State{Running: pid > 0, Pid: pid}, NetworkSettings: &container.NetworkSettings{Networks: map[string]*dnetwork.EndpointSettings{}}}
	for n, a := range on {
		c.NetworkSettings.Networks[n] = &dnetwork.EndpointSettings{IPAddress: netip.MustParseAddr(a)}
	}
	return c
}

func TestSteps(t *testing.T) {
	proc := t.TempDir()
	at := func(a string) string { return "0: " + native(a) + ":0050 00000000:0000 0A 0\n" }
	lake := map[string]string{"lake": "10.9.0.2"}
	from := boat(t, proc, "from", 10, "", map[string]string{"lake": "10.9.0.3", "bridge": "172.17.0.3"})
	for name, c := range map[string]struct {
		to      *container.InspectResponse
		icc     string
		tried   error
		reached bool
		last    string // step
		text    string
	}{
		"reached":         {boat(t, proc, "a", 11, at("0.0.0.0"), lake), "", nil, true, "try", "connected from from to 10.9.0.2:80"},
		"refused":         {boat(t, proc, "b", 12, at("0.0.0.0"), lake), "", fmt.Errorf("no luck"), false, "try", "no luck"},
		"stopped":         {boat(t, proc, "c", 0, "", lake), "", nil, false, "running", "does not run"},
		"another network": {boat(t, proc, "d", 13, at("0.0.0.0"), map[string]string{"sea": "10.8.0.2"}), "", nil, false, "network", "no network has both"},
		"no route":        {boat(t, proc, "e", 14, at("0.0.0.0"), map[string]string{"lake": "10.7.0.2"}), "", nil, false, "route", "no route to 10.7.0.2"},
		"icc":             {boat(t, proc, "f", 15, at("0.0.0.0"), lake), "false", nil, false, "rule", "keeps its containers from each other"},
		"loopback only":   {boat(t, proc, "g", 16, at("127.0.0.1"), lake), "", nil, false, "listener", "of 127.0.0.1 only"},
		"nobody":          {boat(t, proc, "h", 17, "", lake), "", nil, false, "listener", "listened at: none"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &dnetwork.Inspect{}
			if c.icc != "" {
				n.Options = map[string]string{"com.docker.network.bridge.enable_icc": c.icc}
			}
			steps, reached := Run(context.Background(), &Query{
				From: from, To: c.to, Proto: "tcp", Port: 80, Proc: proc,
				Network: func(string) (*dnetwork.Inspect, error) { return n, nil },
				Dial: func(_ context.Context, pid int, _ string, to netip.AddrPort) error {
					if pid != 10 {
						t.Errorf("from process %d", pid)
					}
					return c.tried
				},
			})
			if reached != c.reached {
				t.Errorf("reached: %v", reached)
			}
			for _, s := range steps {
				if s.Step == c.last && strings.Contains(s.Text, c.text) {
					return
				}
			}
			t.Errorf("%+v", steps)
		})
	}
}

// TestObstacles: what the host's packet filter may do is said, and the attempt
// decides.
func TestObstacles(t *testing.T) {
	proc := t.TempDir()
	lake := map[string]string{"lake": "10.9.0.2"}
	from := boat(t, proc, "from", 10, "", map[string]string{"lake": "10.9.0.3"})
	to := boat(t, proc, "to", 11, "0: "+native("0.0.0.0")+":0050 00000000:0000 0A 0\n", lake)
	steps, reached := Run(context.Background(), &Query{
		From: from, To: to, Proto: "tcp", Port: 80, Proc: proc,
		Network:   func(string) (*dnetwork.Inspect, error) { return &dnetwork.Inspect{}, nil },
		Obstacles: func(n string) []string { return []string{"a chain of " + n} },
		Dial:      func(context.Context, int, string, netip.AddrPort) error { return nil },
	})
	said := false
	for _, s := range steps {
		said = said || s.Step == "rule" && s.Verdict == Unknown && s.Text == "a chain of lake"
	}
	if !reached || !said {
		t.Errorf("%v, %+v", reached, steps)
	}
}

func TestRouteTo(t *testing.T) {
	proc := t.TempDir()
	boat(t, proc, "r", 1, "", nil)
	for a, want := range map[string]string{"10.9.0.7": "eth0", "10.10.0.7": "", "fd00:9::7": "eth0", "fd00:a::7": ""} {
		if link, _, err := routeTo(proc+"/1", netip.MustParseAddr(a)); link != want || err != nil {
			t.Errorf("%s: %q, %v", a, link, err)
		}
	}
}

// TestOwn: this very process, which is in one namespace with itself.
func TestOwn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	me := &container.InspectResponse{Name: "/me", State: &container.State{Running: true, Pid: os.Getpid()}, NetworkSettings: &container.NetworkSettings{}}
	q := &Query{From: me, To: me, Proto: "tcp", Port: uint16(l.Addr().(*net.TCPAddr).Port)}
	if _, err := os.Readlink("/proc/self/ns/net"); err != nil {
		t.Skip("missing feature: ns.net: ", err)
	}
	if steps, ok := Run(context.Background(), q); !ok || steps[len(steps)-1].Step != "try" {
		t.Errorf("%+v", steps)
	}
	l.Close()
	if steps, ok := Run(context.Background(), q); ok {
		t.Errorf("after it was closed: %+v", steps)
	}
}
