package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/cmd/coracle/format"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	dnetwork "github.com/moby/moby/api/types/network"
	"github.com/urfave/cli/v2"
)

func newNetworkCreate(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: 1}
	driver, ipam := text("driver", "d", "Driver to manage the Network"), text("ipam-driver", "", "IP Address Management Driver")
	driver.Value, ipam.Value = "bridge", "default"
	v4 := toggle("ipv4", "", "Enable or disable IPv4 address assignment")
	v4.Value = true
	v.Command = &cli.Command{
		Usage: "Create a network", ArgsUsage: "NETWORK",
		Flags: []cli.Flag{
			toggle("attachable", "", "Enable manual container attachment"),
			list("aux-address", "", "`map` Auxiliary IPv4 or IPv6 addresses used by Network driver"),
			text("config-from", "", "The network from which to copy the configuration"),
			toggle("config-only", "", "Create a configuration only network"),
			driver,
			list("gateway", "", "IPv4 or IPv6 Gateway for the master subnet"),
			toggle("ingress", "", "Create swarm routing-mesh network"),
			toggle("internal", "", "Restrict external access to the network"),
			list("ip-range", "", "Allocate container ip from a sub-range"),
			ipam,
			list("ipam-opt", "", "`map` Set IPAM driver specific options"),
			v4,
			toggle("ipv6", "", "Enable or disable IPv6 address assignment"),
			list("label", "", "Set metadata on a network"),
			list("opt", "o", "`map` Set driver specific options"),
			text("scope", "", "Control the network's scope"),
			list("subnet", "", "Subnet in CIDR format that represents a network segment"),
		},
	}
	v.Action = func(c *cli.Context) error { return t.networkCreate(c) }
	return v
}

func (t *tool) networkCreate(c *cli.Context) error {
	labels, err := opts.Labels(nil, c.StringSlice("label"))
	if err != nil {
		return err
	}
	v4 := c.Bool("ipv4")
	req := dnetwork.CreateRequest{
		Driver: c.String("driver"), Scope: c.String("scope"), EnableIPv4: &v4, Internal: c.Bool("internal"), Attachable: c.Bool("attachable"),
		Ingress: c.Bool("ingress"), ConfigOnly: c.Bool("config-only"), Options: opts.Map(c.StringSlice("opt")), Labels: labels,
		IPAM: &dnetwork.IPAM{Driver: c.String("ipam-driver"), Options: opts.Map(c.StringSlice("ipam-opt"))},
	}
	if c.IsSet("ipv6") {
		v6 := c.Bool("ipv6")
		req.EnableIPv6 = &v6
	}
	if from := c.String("config-from"); from != "" {
		req.ConfigFrom = &dnetwork.ConfigReference{Network: from}
	}
	if req.IPAM.Config, err = opts.IPAM(commas(c, "subnet"), commas(c, "ip-range"), commas(c, "gateway"), opts.Map(c.StringSlice("aux-address"))); err != nil {
		return err
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	id, warning, err := engine.NetworksOf(eng).Create(c.Context, c.Args().First(), req)
	if err != nil {
		return engine.WireError(err)
	}
	if warning != "" {
		t.warn(warning)
	}
	fmt.Fprintln(t.Out, id)
	return nil
}

// commas is a list whose values may be joined by commas.
func commas(c *cli.Context, name string) []string {
	var out []string
	for _, v := range c.StringSlice(name) {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

func newNetworkLs(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "List networks",
		Flags: []cli.Flag{
			list("filter", "f", `Provide filter values (e.g. "driver=bridge")`),
			text("format", "", formatUsage),
			toggle("no-trunc", "", "Do not truncate the output"),
			toggle("quiet", "q", "Only display network IDs"),
		},
	}
	v.Action = func(c *cli.Context) error {
		filters, err := v.filters(c)
		if err != nil {
			return err
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		found, err := engine.NetworksOf(eng).List(c.Context, filters)
		if err != nil {
			return engine.WireError(err)
		}
		rows := make([]format.Network, len(found))
		for i := range found {
			rows[i] = format.NetworkRow(&found[i], !c.Bool("no-trunc"))
		}
		slices.SortStableFunc(rows, func(a, b format.Network) int { return format.Natural(a.Name, b.Name) })
		return format.Write(t.Out, format.Networks(c.String("format"), c.Bool("quiet")), rows)
	}
	return v
}

func newNetworkInspect(t *tool) *verb {
	return t.inspectVerb("network", "Display detailed information on one or more networks", "NETWORK [NETWORK...]",
		text("format", "f", "Format output: 'json' or a Go template"),
		toggle("verbose", "v", "Verbose output for diagnostics"))
}

func newNetworkRm(t *tool) *verb {
	v := &verb{mixed: true, min: 1, max: -1}
	v.Command = &cli.Command{
		Usage: "Remove one or more networks", ArgsUsage: "NETWORK [NETWORK...]",
		Flags: []cli.Flag{toggle("force", "f", "Do not error if the network does not exist")},
	}
	v.Action = func(c *cli.Context) error {
		return t.each(c, func(ctx context.Context, e *engine.Engine, ref string) error {
			err := engine.WireError(engine.NetworksOf(e).Remove(ctx, ref))
			var kind *engine.Error
			if c.Bool("force") && errors.As(err, &kind) && kind.Kind == engine.NotFound {
				return errNothing
			}
			return err
		})
	}
	return v
}

func newNetworkPrune(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Remove all unused networks",
		Flags: pruneFlags(),
	}
	v.Action = func(c *cli.Context) error {
		filters, err := v.filters(c)
		if err != nil {
			return err
		}
		if !sure(t, c, "WARNING! This will remove all custom networks not used by at least one container.") {
			return nil
		}
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		deleted, err := engine.NetworksOf(eng).Prune(c.Context, filters)
		if len(deleted) > 0 {
			fmt.Fprintln(t.Out, "Deleted Networks:")
			for _, name := range deleted {
				fmt.Fprintln(t.Out, name)
			}
			fmt.Fprintln(t.Out)
		}
		return engine.WireError(err)
	}
	return v
}

func newNetworkConnect(t *tool) *verb {
	v := &verb{mixed: true, min: 2, max: 2}
	v.Command = &cli.Command{
		Usage: "Connect a container to a network", ArgsUsage: "NETWORK CONTAINER",
		Flags: []cli.Flag{
			list("alias", "", "Add network-scoped alias for the container"),
			list("driver-opt", "", "driver options for the network"),
			number("gw-priority", "", "Highest gw-priority provides the default gateway. Accepts positive and negative values."),
			text("ip", "", `IPv4 address (e.g., "172.30.100.104")`),
			text("ip6", "", `IPv6 address (e.g., "2001:db8::33")`),
			list("link", "", "Add link to another container"),
			list("link-local-ip", "", "Add a link-local address for the container"),
		},
	}
	v.Action = func(c *cli.Context) error {
		var a opts.Attachment
		if err := a.Ask(c.String("ip"), c.String("ip6"), "", commas(c, "link-local-ip"), commas(c, "alias")); err != nil {
			return err
		}
		a.GwPriority, a.Links, a.DriverOpts = c.Int("gw-priority"), c.StringSlice("link"), opts.Map(commas(c, "driver-opt"))
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		return engine.Connect(c.Context, eng, c.Args().Get(0), c.Args().Get(1), &a.EndpointSettings)
	}
	return v
}

func newNetworkDisconnect(t *tool) *verb {
	v := &verb{mixed: true, min: 2, max: 2}
	v.Command = &cli.Command{
		Usage: "Disconnect a container from a network", ArgsUsage: "NETWORK CONTAINER",
		Flags: []cli.Flag{toggle("force", "f", "Force the container to disconnect from a network")},
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		return engine.Disconnect(c.Context, eng, c.Args().Get(0), c.Args().Get(1), c.Bool("force"))
	}
	return v
}
