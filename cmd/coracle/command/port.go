package command

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/urfave/cli/v2"
)

func newPort(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 2, both: true}
	v.Command = &cli.Command{
		Usage:     "List port mappings or a specific mapping for the container",
		ArgsUsage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		info, err := eng.Inspect(c.Context, c.Args().First(), false)
		if err != nil {
			return err
		}
		lines, err := portLines(info.NetworkSettings.Ports, c.Args().First(), c.Args().Get(1))
		for _, l := range lines {
			fmt.Fprintln(t.Out, l)
		}
		return err
	}
	return v
}

// portLines are the mappings of all ports, or the addresses of one.
func portLines(ports network.PortMap, ref, one string) (lines []string, err error) {
	address := func(b network.PortBinding) string {
		host := "0.0.0.0"
		if b.HostIP.IsValid() {
			host = b.HostIP.String()
			if b.HostIP.Is6() {
				host = "[" + host + "]"
			}
		}
		return host + ":" + b.HostPort
	}
	if one != "" {
		number, proto, _ := strings.Cut(one, "/")
		if _, err := strconv.ParseUint(number, 10, 16); err != nil {
			return nil, fmt.Errorf("invalid port (%s): %w", number, err)
		}
		if proto == "" {
			proto = "tcp"
		}
		for p, bindings := range ports {
			if p.String() == number+"/"+proto {
				for _, b := range bindings {
					lines = append(lines, address(b))
				}
			}
		}
		if lines == nil {
			return nil, fmt.Errorf("No public port '%s' published for %s", one, ref)
		}
		return lines, nil
	}
	for p, bindings := range ports {
		for _, b := range bindings {
			lines = append(lines, p.String()+" -> "+address(b))
		}
	}
	sort.Strings(lines)
	return lines, nil
}
