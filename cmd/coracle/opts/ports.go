package opts

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// Publish reads what --publish says: [[IP:][HOST]:]CONTAINER[/PROTO], each with
// ranges, or Docker's long form, target=80,published=8080,protocol=tcp.
func Publish(values []string) (network.PortMap, error) {
	ports := network.PortMap{}
	for _, v := range values {
		spec, err := shortForm(v)
		if err != nil {
			return nil, err
		}
		if err := publish(ports, spec); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// shortForm makes of the long form the other one.
func shortForm(v string) (string, error) {
	if !strings.Contains(v, "=") {
		return v, nil
	}
	var target, published string
	proto := "tcp"
	for _, part := range strings.Split(v, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || value == "" {
			return "", fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", part)
		}
		switch key {
		case "target":
			target = value
		case "published":
			published = value
		case "protocol":
			proto = value
		case "mode":
		default:
			return "", fmt.Errorf("invalid field key %s", key)
		}
	}
	return published + ":" + target + "/" + proto, nil
}

func publish(ports network.PortMap, spec string) error {
	rest, proto, _ := strings.Cut(spec, "/")
	if proto == "" {
		proto = "tcp"
	}
	proto = strings.ToLower(proto)
	if proto != "tcp" && proto != "udp" && proto != "sctp" {
		return fmt.Errorf("invalid proto: %s", proto)
	}
	ip, host, inner, err := places(rest)
	if err != nil {
		return err
	}
	if inner == "" {
		return fmt.Errorf("no port specified: %s<empty>", spec)
	}
	first, last, ok := portRange(inner)
	if !ok {
		return fmt.Errorf("invalid containerPort: %s", inner)
	}
	if host == "" {
		for n := int(first); n <= int(last); n++ {
			add(ports, uint16(n), proto, network.PortBinding{HostIP: ip})
		}
		return nil
	}
	from, to, ok := portRange(host)
	if !ok {
		return fmt.Errorf("invalid hostPort: %s", host)
	}
	if last-first != to-from {
		if first != last {
			return fmt.Errorf("invalid ranges specified for container and host Ports: %s and %s", inner, host)
		}
		add(ports, first, proto, network.PortBinding{HostIP: ip, HostPort: host})
		return nil
	}
	for n := int(first); n <= int(last); n++ {
		add(ports, uint16(n), proto, network.PortBinding{HostIP: ip, HostPort: strconv.Itoa(int(from) + n - int(first))})
	}
	return nil
}

func add(ports network.PortMap, n uint16, proto string, b network.PortBinding) {
	if p, ok := network.PortFrom(n, network.IPProtocol(proto)); ok {
		ports[p] = append(ports[p], b)
	}
}

// places takes "IP:HOST:CONTAINER" apart, from behind: an IPv6 address has colons.
func places(s string) (ip netip.Addr, host, inner string, err error) {
	i := strings.LastIndex(s, ":")
	if i < 0 {
		return ip, "", s, nil
	}
	s, inner = s[:i], s[i+1:]
	i = strings.LastIndex(s, ":")
	if i < 0 {
		return ip, s, inner, nil
	}
	text, host := s[:i], s[i+1:]
	if text == "" {
		return ip, host, inner, nil
	}
	if strings.HasPrefix(text, "[") {
		if text, _, err = net.SplitHostPort(text + ":"); err != nil {
			return ip, "", "", fmt.Errorf("invalid IP address %s", s[:i])
		}
	}
	if ip, err = netip.ParseAddr(text); err != nil {
		return ip, "", "", fmt.Errorf("invalid IP address: %s", text)
	}
	return ip.Unmap(), host, inner, nil
}

func portRange(s string) (first, last uint16, ok bool) {
	a, b, ranged := strings.Cut(s, "-")
	n, err := strconv.ParseUint(a, 10, 16)
	if err != nil {
		return 0, 0, false
	}
	if !ranged {
		return uint16(n), uint16(n), true
	}
	m, err := strconv.ParseUint(b, 10, 16)
	if err != nil || m < n {
		return 0, 0, false
	}
	return uint16(n), uint16(m), true
}

// Expose reads what --expose says: PORT[-PORT][/PROTO], and, of our own,
// PORT:SERVED[/PROTO] for a port that others find at another one of the program's
// (engine.CreateOptions.Served).
func Expose(values []string) (network.PortSet, map[network.Port]uint16, error) {
	if len(values) == 0 {
		return nil, nil, nil
	}
	set, served := network.PortSet{}, map[network.Port]uint16{}
	for _, v := range values {
		text := v
		declared, at, moved := strings.Cut(v, ":")
		if moved {
			_, proto, _ := strings.Cut(at, "/")
			at = strings.TrimSuffix(at, "/"+proto)
			if text = declared; proto != "" {
				text += "/" + proto
			}
		}
		r, err := network.ParsePortRange(text)
		if err != nil {
			return nil, nil, fmt.Errorf("invalid range format for --expose: %s, error: %w", v, err)
		}
		if moved {
			n, err := strconv.ParseUint(at, 10, 16)
			if err != nil || n == 0 || r.Start() != r.End() || r.Start() == 0 || r.Proto() != network.TCP && r.Proto() != network.UDP && r.Proto() != network.SCTP {
				return nil, nil, fmt.Errorf("invalid port format for --expose: %s", v)
			}
			for p := range r.All() {
				served[p] = uint16(n)
			}
		}
		for p := range r.All() {
			set[p] = struct{}{}
		}
	}
	return set, served, nil
}
