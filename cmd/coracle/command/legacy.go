package command

import (
	"net/netip"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// inspected is a container as Docker 28 shows it. The API's own module has
// dropped the address of the default bridge beside the networks, which scripts
// ask for: {{.NetworkSettings.IPAddress}}.
type inspected struct {
	*container.InspectResponse
	NetworkSettings *networkSettings
}

type networkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  map[string][]portBinding
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []address
	SecondaryIPv6Addresses []address
	EndpointID             string
	Gateway                string
	GlobalIPv6Address      string
	GlobalIPv6PrefixLen    int
	IPAddress              string
	IPPrefixLen            int
	IPv6Gateway            string
	MacAddress             string
	Networks               map[string]*endpoint
}

type address struct {
	Addr      string
	PrefixLen int
}

// portBinding and endpoint have texts where the module has addresses, of which
// the one that is not set prints as "invalid IP" in a template.
type portBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

type endpoint struct {
	IPAMConfig          *network.EndpointIPAMConfig
	Links               []string
	Aliases             []string
	MacAddress          string
	DriverOpts          map[string]string
	GwPriority          int
	NetworkID           string
	EndpointID          string
	Gateway             string
	IPAddress           string
	IPPrefixLen         int
	IPv6Gateway         string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	DNSNames            []string
}

// withLegacy adds to info what Docker 28 still has.
func withLegacy(info *container.InspectResponse) *inspected {
	out := &inspected{InspectResponse: info}
	from := info.NetworkSettings
	if from == nil {
		return out
	}
	n := &networkSettings{SandboxID: from.SandboxID, SandboxKey: from.SandboxKey, Ports: portTexts(from.Ports)}
	out.NetworkSettings = n
	if from.Networks != nil {
		n.Networks = map[string]*endpoint{}
	}
	for name, e := range from.Networks {
		if e == nil {
			continue
		}
		n.Networks[name] = &endpoint{
			IPAMConfig: e.IPAMConfig, Links: e.Links, Aliases: e.Aliases, MacAddress: e.MacAddress.String(), DriverOpts: e.DriverOpts,
			GwPriority: e.GwPriority, NetworkID: e.NetworkID, EndpointID: e.EndpointID, Gateway: addressText(e.Gateway),
			IPAddress: addressText(e.IPAddress), IPPrefixLen: e.IPPrefixLen, IPv6Gateway: addressText(e.IPv6Gateway),
			GlobalIPv6Address: addressText(e.GlobalIPv6Address), GlobalIPv6PrefixLen: e.GlobalIPv6PrefixLen, DNSNames: e.DNSNames,
		}
	}
	if e := n.Networks["bridge"]; e != nil {
		n.EndpointID, n.Gateway, n.IPAddress, n.IPPrefixLen, n.MacAddress = e.EndpointID, e.Gateway, e.IPAddress, e.IPPrefixLen, e.MacAddress
		n.GlobalIPv6Address, n.GlobalIPv6PrefixLen, n.IPv6Gateway = e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway
	}
	return out
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func portTexts(m network.PortMap) map[string][]portBinding {
	if m == nil {
		return nil
	}
	out := make(map[string][]portBinding, len(m))
	for port, list := range m {
		var texts []portBinding
		for _, b := range list {
			texts = append(texts, portBinding{addressText(b.HostIP), b.HostPort})
		}
		out[port.String()] = texts
	}
	return out
}
