package opts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// Attachment is one --network: its name, and what is asked for on it.
type Attachment struct {
	Name string
	network.EndpointSettings
}

// Network reads one --network: a name or a mode, or the long form,
// name=NET,alias=A,ip=10.0.0.5.
func Network(v string) (Attachment, error) {
	a := Attachment{Name: v}
	if !strings.Contains(v, "=") {
		return a, nil
	}
	fields, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return a, err
	}
	a.Name = ""
	for _, field := range fields {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || value == "" {
			return a, fmt.Errorf("invalid value for --network: %s", v)
		}
		if err := a.field(strings.ToLower(key), value); err != nil {
			return a, err
		}
	}
	if a.Name == "" {
		return a, errors.New("network name/id is not specified")
	}
	return a, nil
}

func (a *Attachment) field(key, value string) (err error) {
	switch key {
	case "name":
		a.Name = value
	case "alias":
		a.Aliases = append(a.Aliases, value)
	case "ip":
		a.config().IPv4Address, err = Address(value, false)
	case "ip6":
		a.config().IPv6Address, err = Address(value, true)
	case "link-local-ip":
		var ip netip.Addr
		ip, err = netip.ParseAddr(value)
		a.config().LinkLocalIPs = append(a.config().LinkLocalIPs, ip)
	case "mac-address":
		a.MacAddress, err = MAC(value)
	case "driver-opt":
		k, v, ok := strings.Cut(value, "=")
		if !ok {
			return fmt.Errorf("invalid key value pair format in driver options: %s", value)
		}
		if a.DriverOpts == nil {
			a.DriverOpts = map[string]string{}
		}
		a.DriverOpts[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
	case "gw-priority":
		a.GwPriority, err = strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("invalid gw-priority: %s", value)
		}
	default:
		return fmt.Errorf("invalid field key %s", key)
	}
	return err
}

func (a *Attachment) config() *network.EndpointIPAMConfig {
	if a.IPAMConfig == nil {
		a.IPAMConfig = &network.EndpointIPAMConfig{}
	}
	return a.IPAMConfig
}

// Ask adds what flags of their own ask for: addresses, aliases, links.
func (a *Attachment) Ask(ip, ip6, mac string, local, aliases []string) error {
	for key, value := range map[string]string{"ip": ip, "ip6": ip6, "mac-address": mac} {
		if value == "" {
			continue
		}
		c := a.IPAMConfig
		if c != nil && (key == "ip" && c.IPv4Address.IsValid() || key == "ip6" && c.IPv6Address.IsValid()) || key == "mac-address" && len(a.MacAddress) > 0 {
			return fmt.Errorf("conflicting options: cannot specify both --%s and per-network %s", key, key)
		}
		if err := a.field(key, value); err != nil {
			return err
		}
	}
	if len(aliases) > 0 && len(a.Aliases) > 0 {
		return errors.New("conflicting options: cannot specify both --network-alias and per-network alias")
	}
	a.Aliases = append(a.Aliases, aliases...)
	for _, l := range local {
		if err := a.field("link-local-ip", l); err != nil {
			return err
		}
	}
	return nil
}

// Address reads an address of one family.
func Address(v string, v6 bool) (netip.Addr, error) {
	a, err := netip.ParseAddr(v)
	if err != nil || v6 != a.Is6() {
		kind := "IPv4"
		if v6 {
			kind = "IPv6"
		}
		return netip.Addr{}, fmt.Errorf("invalid %s address: %s", kind, v)
	}
	return a, nil
}

// MAC reads a hardware address.
func MAC(v string) (network.HardwareAddr, error) {
	mac, err := net.ParseMAC(strings.TrimSpace(v))
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%s is not a valid mac address", v)
	}
	return network.HardwareAddr(mac), nil
}

// IPAM makes one network's address configuration of the flags of network create:
// each range, gateway and auxiliary address goes to the subnet that it is in.
func IPAM(subnets, ranges, gateways []string, aux map[string]string) ([]network.IPAMConfig, error) {
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	var out []network.IPAMConfig
	for _, s := range subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet %s: %w", s, errors.New("want a prefix in CIDR notation"))
		}
		for _, o := range out {
			if o.Subnet.Overlaps(p) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		out = append(out, network.IPAMConfig{Subnet: p})
	}
	for _, r := range ranges {
		p, err := netip.ParsePrefix(r)
		if err != nil {
			return nil, fmt.Errorf("invalid ip-range %s", r)
		}
		c := holder(out, p.Addr())
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for range %s", r)
		}
		if c.IPRange.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", r, c.IPRange, c.Subnet)
		}
		c.IPRange = p
	}
	for _, g := range gateways {
		a, err := netip.ParseAddr(g)
		if err != nil {
			return nil, fmt.Errorf("invalid gateway %s", g)
		}
		c := holder(out, a)
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for gateway %s", g)
		}
		if c.Gateway.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", g, c.Gateway, c.Subnet)
		}
		c.Gateway = a
	}
	for name, v := range aux {
		a, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("invalid aux-address %s=%s", name, v)
		}
		c := holder(out, a)
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for aux-address %s", v)
		}
		if c.AuxAddress == nil {
			c.AuxAddress = map[string]netip.Addr{}
		}
		c.AuxAddress[name] = a
	}
	return out, nil
}

func holder(list []network.IPAMConfig, a netip.Addr) *network.IPAMConfig {
	for i := range list {
		if list[i].Subnet.Contains(a) {
			return &list[i]
		}
	}
	return nil
}
