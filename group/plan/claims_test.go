package plan

import (
	"net/netip"
	"strings"
	"testing"

	"coracle/group/model"

	"github.com/moby/moby/api/types/container"
)

func TestClashes(t *testing.T) {
	other := func(name string, ports ...container.PortSummary) container.Summary {
		return container.Summary{
			ID: strings.Repeat("b", 64), Names: []string{"/" + name}, State: "running", Ports: ports,
			Labels: map[string]string{model.LabelProject: "blog", model.LabelService: "x"},
		}
	}
	port := func(ip string, private, public uint16) container.PortSummary {
		p := container.PortSummary{PrivatePort: private, PublicPort: public, Type: "tcp"}
		p.IP, _ = netip.ParseAddr(ip)
		return p
	}
	const ab = "services:\n  a: {image: box, ports: [%a]}\n  b: {image: box, ports: [%b]}\n"
	two := func(a, b string) string { return strings.NewReplacer("%a", a, "%b", b).Replace(ab) }
	for _, tc := range []struct {
		name, file string
		host       Host
		want       string // "": none
	}{
		{"two publish one", two(`"8080:80"`, `"8080:81"`), Host{}, `service "a" and service "b" both publish port 8080/tcp`},
		{"all addresses and one", two(`"8080:80"`, `"127.0.0.1:8080:81"`), Host{}, `both publish port 127.0.0.1:8080/tcp`},
		{"two addresses", two(`"127.0.0.2:8080:80"`, `"127.0.0.1:8080:81"`), Host{}, ""},
		{"two protocols", two(`"8080:80"`, `"8080:80/udp"`), Host{}, ""},
		{"same port within", two(`"8080:80"`, `"8081:80"`), Host{}, ""},
		{"same port within, shared", two(`"8080:80"`, `"8081:80"`), Host{Shared: true}, `service "a" listens on port 80/tcp, and service "b" listens on port 80/tcp, and without network namespaces`},
		{"published there, listening here", two(`"8080:80"`, `"8081:8080"`), Host{Shared: true}, `service "a" publishes port 8080/tcp, and service "b" listens on port 8080/tcp`},
		{"one has both", two(`"80:80"`, `"8081:8081"`), Host{Shared: true}, ""},
		{"replicas", "services: {a: {image: box, scale: 2, ports: ['8080:80']}}\n", Host{}, `service "a" publishes port 8080/tcp and has several replicas`},
		{"replicas with a range", "services: {a: {image: box, scale: 2, ports: ['8080-8081:80']}}\n", Host{}, ""},
		{"image, shared", "services: {a: {image: box, scale: 2}}\n", Host{Shared: true, Exposes: map[string][]string{"a": {"80/tcp"}}}, `service "a" listens on port 80/tcp and has several replicas`},
		{"image", "services: {a: {image: box, scale: 2}}\n", Host{Exposes: map[string][]string{"a": {"80/tcp"}}}, ""},
		{"another project", two(`"8080:80"`, `"81"`), Host{Containers: []container.Summary{other("blog-x-1", port("0.0.0.0", 80, 8080))}}, `service "a" publishes port 8080/tcp, which container blog-x-1 of project blog has`},
		{"its own port", two(`"8080:80"`, `"81"`), Host{Containers: []container.Summary{other("blog-x-1", port("0.0.0.0", 80, 8081))}}, ""},
		{"its own port, shared", two(`"8080:80"`, `"81"`), Host{Shared: true, Containers: []container.Summary{other("blog-x-1", port("0.0.0.0", 80, 8081))}}, `service "a" listens on port 80/tcp, which container blog-x-1 of project blog has`},
		{"a program", two(`"8080:80"`, `"81"`), Host{Busy: func(_ string, _ netip.Addr, p uint16) bool { return p == 8080 }}, `which another program of the host has`},
		{"a name", "services: {a: {image: box, container_name: boat}}\n", Host{Containers: []container.Summary{other("boat")}}, `the container name "boat" is already in use by container bbbbbbbbbbbb of project blog`},
		{"an address", "services:\n  a: {image: box, networks: {n: {ipv4_address: 10.9.0.2}}}\n  b: {image: box, networks: {n: {ipv4_address: 10.9.0.2}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n", Host{}, `services "a" and "b" both have address 10.9.0.2 on network n`},
		{"an address, replicas", "services:\n  a: {image: box, scale: 2, networks: {n: {ipv4_address: 10.9.0.2}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n", Host{}, `service "a" has address 10.9.0.2 and 2 replicas`},
		{"the host's network", "services: {a: {image: box, network_mode: host, ports: ['8080:80']}, b: {image: box, ports: ['8080:80']}}\n", Host{}, ""},
		{"unwired", two(`"8080:80"`, `"8080:81"`), Host{Unwired: true}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := project(t, tc.file)
			pl, err := Up(p, Observe(nil), Options{})
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			switch err := pl.Clashes(p, tc.host); {
			case err == nil && want != "":
				t.Errorf("no clash, want %s", want)
			case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// TestNoClashWithItself: what a project has is in nobody's way when it is made anew.
func TestNoClashWithItself(t *testing.T) {
	p := project(t, "services: {web: {image: box, ports: ['8080:80']}}\n")
	mine := have(t, p, "web", 1, "running", func(l map[string]string) { l[model.LabelHash] = "other" })
	mine.Ports = []container.PortSummary{{IP: netip.IPv4Unspecified(), PrivatePort: 80, PublicPort: 8080, Type: "tcp"}}
	all := []container.Summary{mine}
	pl, err := Up(p, Observe(all), Options{})
	if err != nil {
		t.Fatal(err)
	}
	busy := func(string, netip.Addr, uint16) bool { return true }
	if err := pl.Clashes(p, Host{Containers: all, Shared: true, Busy: busy}); err != nil {
		t.Errorf("got %v", err)
	}
}
