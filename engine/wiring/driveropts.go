package wiring

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"coracle/backends/isolate"
	"coracle/net/network"

	dnetwork "github.com/moby/moby/api/types/network"
)

// Options of networks and of endpoints that mean the same on every rung.
const (
	optBinding = "com.docker.network.bridge.host_binding_ipv4"
	optPrefix  = "com.docker.network.container_iface_prefix"
	optIfname  = "com.docker.network.endpoint.ifname"
	optSysctls = "com.docker.network.endpoint.sysctls"
)

// checkOptions refuses options of a network that cannot be understood, in
// Docker's words.
func checkOptions(n *network.Network) error {
	if v := n.Options[optBinding]; v != "" {
		if a, err := netip.ParseAddr(v); err != nil || !a.Is4() {
			return fmt.Errorf("failed to parse %s value: %s (invalid ipv4 address)", optBinding, v)
		}
	}
	if p := n.Options[optPrefix]; len(p) > maxPrefix || strings.ContainsAny(p, "/ \t\n") {
		return fmt.Errorf("invalid value for option %s: %q: up to %d characters, without spaces and slashes", optPrefix, p, maxPrefix)
	}
	return nil
}

// maxPrefix leaves room for a number in the name of an interface (IFNAMSIZ).
const maxPrefix = 12

// bind gives ports for which no address of the host was asked the one that the
// network says which, of those that the container is on, has its way out.
func bind(list []network.Publish, s *network.Sandbox, on []*network.Endpoint) {
	ep := network.Way(on, false)
	if ep == nil {
		return
	}
	a, err := netip.ParseAddr(s.Network(ep).Options[optBinding])
	if err != nil || a.IsUnspecified() {
		return
	}
	for i := range list {
		if !list[i].HostIP.IsValid() {
			list[i].HostIP = a
		}
	}
}

// inner is the name of a new interface: what was asked for, or the network's
// prefix and the lowest number that is free.
func inner(n *network.Network, set *dnetwork.EndpointSettings, others []*network.Endpoint) string {
	if name := set.DriverOpts[optIfname]; name != "" {
		return name
	}
	prefix := n.Options[optPrefix]
	if prefix == "" {
		prefix = "eth"
	}
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		if !slices.ContainsFunc(others, func(o *network.Endpoint) bool { return o.Inner == name }) {
			return name
		}
	}
}

// sysctlsOf reads the sysctls of an endpoint's interface: "net.ipv4.conf.IFNAME.NAME=V"
// and more of them behind commas.
func sysctlsOf(opts map[string]string, ifname string) ([]isolate.NetSysctl, error) {
	text := opts[optSysctls]
	if text == "" {
		return nil, nil
	}
	var out []isolate.NetSysctl
	for _, one := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(one), "=")
		parts := strings.Split(key, ".")
		if !ok || len(parts) != 5 || parts[0] != "net" || parts[3] != "IFNAME" || strings.Contains(key, "/") || slices.Contains(parts, "") {
			return nil, fmt.Errorf("invalid sysctl %q: it is to be net.FAMILY.KIND.IFNAME.NAME=VALUE", one)
		}
		if _, err := os.Stat("/proc/sys/net/" + parts[1] + "/" + parts[2] + "/lo/" + parts[4]); err != nil {
			return nil, fmt.Errorf("invalid sysctl %q: this kernel has none of that name", one)
		}
		parts[3] = ifname
		out = append(out, isolate.NetSysctl{Path: strings.Join(parts[1:], "/"), Value: value})
	}
	return out, nil
}
