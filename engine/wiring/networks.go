package wiring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"coracle/engine/record"
	"coracle/net/ipam"
	"coracle/net/network"
	"coracle/net/objects"

	dnetwork "github.com/moby/moby/api/types/network"
)

// Networks are the networks as objects: Docker's calls.
type Networks struct{ M *Manager }

// Create makes a network.
func (w *Networks) Create(_ context.Context, name string, req dnetwork.CreateRequest) (id, warning string, err error) {
	d, err := w.M.Driver(w.M.Rung)
	if err != nil {
		return "", "", err
	}
	var not []network.Cannot
	n, err := w.M.Store.Make(name, &req, used(nil), func(n *network.Network) error {
		if d == nil {
			return nil
		}
		if err := checkOptions(n); err != nil {
			return &Refusal{err}
		}
		var err error
		if not, err = d.Check(n); err != nil {
			return &Refusal{err}
		}
		if len(not) > 0 && w.M.Strict {
			return &Unavailable{errors.New(not[0].String())}
		}
		n.Together = !d.Namespace()
		return nil
	})
	var lines []string
	for _, c := range not {
		lines = append(lines, c.String())
	}
	switch {
	case errors.Is(err, objects.ErrExists):
		return "", "", &Conflict{fmt.Errorf("network with name %s already exists", name)}
	case errors.Is(err, objects.ErrForbidden):
		return "", "", &Forbidden{err}
	case errors.Is(err, objects.ErrInvalid):
		return "", "", &Refusal{err}
	case errors.Is(err, objects.ErrNotFound):
		return "", "", &NotFound{errors.New(strings.TrimPrefix(err.Error(), objects.ErrNotFound.Error()+": "))}
	case errors.Is(err, ipam.ErrPools):
		return "", "", err
	case err != nil:
		return "", "", err
	}
	w.M.happened("create", n, "")
	return n.ID, strings.Join(lines, "; "), nil
}

// List lists networks. Filters are Docker's: of one key any value, of all keys each.
func (w *Networks) List(_ context.Context, filters map[string][]string) ([]dnetwork.Inspect, error) {
	for key := range filters {
		switch key {
		case "id", "name", "driver", "scope", "type", "label", "dangling", "until", "label!":
		default:
			return nil, &Refusal{fmt.Errorf("invalid filter '%s'", key)}
		}
	}
	if err := w.M.Store.Defaults(used(nil)); err != nil {
		return nil, err
	}
	all, err := w.M.Store.List()
	if err != nil {
		return nil, err
	}
	out := []dnetwork.Inspect{}
	for _, n := range all {
		ok, err := w.match(n, filters)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, w.describe(n))
		}
	}
	return out, nil
}

func (w *Networks) match(n *network.Network, filters map[string][]string) (bool, error) {
	some := func(key string, ok func(v string) bool) bool {
		return len(filters[key]) == 0 || slices.ContainsFunc(filters[key], ok)
	}
	for _, v := range filters["type"] {
		if v != "builtin" && v != "custom" {
			return false, &Refusal{fmt.Errorf("invalid filter: 'type'='%s'", v)}
		}
	}
	idle := false
	if len(filters["dangling"]) > 0 {
		list, err := w.M.Store.Endpoints(n.ID)
		if err != nil {
			return false, err
		}
		idle = len(list) == 0 && !n.Default
	}
	label := func(v string) bool {
		key, value, has := strings.Cut(v, "=")
		got, ok := n.Labels[key]
		return ok && (!has || got == value)
	}
	for _, v := range filters["label"] {
		if !label(v) {
			return false, nil
		}
	}
	if len(filters["label!"]) > 0 && slices.ContainsFunc(filters["label!"], label) {
		return false, nil
	}
	return some("id", func(v string) bool { return strings.HasPrefix(n.ID, v) }) &&
		some("name", func(v string) bool { return strings.Contains(n.Name, v) }) &&
		some("driver", func(v string) bool { return n.Driver == v }) &&
		some("scope", func(v string) bool { return n.Scope == v }) &&
		some("type", func(v string) bool { return n.Default == (v == "builtin") }) &&
		some("dangling", func(v string) bool { return idle == (v == "true" || v == "1") }), nil
}

// Inspect tells all about a network, with who is on it.
func (w *Networks) Inspect(_ context.Context, ref string) (*dnetwork.Inspect, error) {
	if err := w.M.Store.Defaults(used(nil)); err != nil {
		return nil, err
	}
	n, err := w.M.Find(ref)
	if err != nil {
		return nil, err
	}
	out := w.describe(n)
	if n.Driver == "bridge" {
		return &out, nil
	}
	// Nobody leases anything of the host's network, or none.
	all, err := w.M.Containers.All()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		mode := c.HostConfig.NetworkMode
		on := n.Name == objects.Host && mode.IsHost() || n.Name == objects.None && (mode.IsNone() || c.Config.NetworkDisabled)
		if on && w.M.alive(c.ID) {
			out.Containers[c.ID] = dnetwork.EndpointResource{Name: c.Name}
		}
	}
	return &out, nil
}

func (w *Networks) describe(n *network.Network) dnetwork.Inspect {
	out := dnetwork.Inspect{Network: n.Network, Containers: map[string]dnetwork.EndpointResource{}}
	list, _ := w.M.Store.Endpoints(n.ID)
	for _, ep := range list {
		if !w.M.alive(ep.ContainerID) {
			continue
		}
		out.Containers[ep.ContainerID] = dnetwork.EndpointResource{
			Name: ep.Container, EndpointID: ep.ID, MacAddress: ep.MAC, IPv4Address: ep.IPv4, IPv6Address: ep.IPv6,
		}
	}
	return out
}

// Remove deletes a network.
func (w *Networks) Remove(ctx context.Context, ref string) error {
	n, err := w.M.Find(ref)
	if err != nil {
		return err
	}
	if n.Default {
		return &Forbidden{fmt.Errorf("%s is a pre-defined network and cannot be removed", n.Name)}
	}
	w.M.bury(ctx, n.ID, "")
	return w.remove(ctx, n)
}

func (w *Networks) remove(ctx context.Context, n *network.Network) error {
	d, err := w.M.Driver(w.M.Rung)
	if err != nil {
		return err
	}
	err = w.M.Store.Remove(n, func() error {
		if d == nil {
			return nil
		}
		return d.Remove(ctx, n)
	})
	switch {
	case errors.Is(err, objects.ErrInUse):
		return &Forbidden{err}
	case errors.Is(err, objects.ErrNotFound):
		return &NotFound{fmt.Errorf("network %s not found", n.Name)}
	case err == nil:
		w.M.happened("destroy", n, "")
	}
	return err
}

// Prune deletes the networks that no container is on, or is to be on.
func (w *Networks) Prune(ctx context.Context, filters map[string][]string) (deleted []string, err error) {
	before := time.Time{}
	for key, values := range filters {
		switch key {
		case "label", "label!":
		case "until":
			if before, err = until(values); err != nil {
				return nil, err
			}
		default:
			return nil, &Refusal{fmt.Errorf("invalid filter '%s'", key)}
		}
	}
	kept, err := w.wanted()
	if err != nil {
		return nil, err
	}
	all, err := w.M.Store.List()
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		ok, err := w.match(n, filters)
		if err != nil {
			return deleted, err
		}
		if !ok || n.Default || kept[n.Name] || !before.IsZero() && !n.Created.Before(before) {
			continue
		}
		w.M.bury(ctx, n.ID, "")
		if err := w.remove(ctx, n); err == nil {
			deleted = append(deleted, n.Name)
		}
	}
	return deleted, nil
}

func until(values []string) (time.Time, error) {
	if len(values) != 1 {
		return time.Time{}, &Refusal{errors.New("more than one until filter specified")}
	}
	if d, err := time.ParseDuration(values[0]); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, values[0])
	if err != nil {
		return t, &Refusal{fmt.Errorf("invalid filter 'until=%s'", values[0])}
	}
	return t, nil
}

// wanted are the networks that a container, running or not, is made for.
func (w *Networks) wanted() (map[string]bool, error) {
	all, err := w.M.Containers.All()
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, c := range all {
		if !Wired(c) {
			continue
		}
		names, _, err := w.M.settings(c)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out[name] = true
		}
	}
	return out, nil
}

// Connect puts a container on a network, one that runs at once.
func (w *Networks) Connect(_ context.Context, ref string, c *record.Container, running bool, set *dnetwork.EndpointSettings) error {
	n, err := w.M.Find(ref)
	if err != nil {
		return err
	}
	if set == nil {
		set = &dnetwork.EndpointSettings{}
	}
	switch mode := c.HostConfig.NetworkMode; {
	case mode.IsHost():
		return &Forbidden{errors.New("container cannot be connected to host network as it is in host network mode")}
	case mode.IsContainer():
		return &Forbidden{errors.New("container sharing network namespace with another container or host cannot be connected to any other network")}
	case n.Driver != "bridge":
		return &Forbidden{fmt.Errorf("container cannot be connected to %s network", n.Name)}
	case !Wired(c):
		return &Forbidden{fmt.Errorf("container cannot be connected to multiple networks with one of the networks in private (none) mode")}
	}
	if err := w.M.checkSettings(n, set); err != nil {
		return err
	}
	_, all, err := w.M.settings(c)
	if err != nil {
		return err
	}
	if all[n.Name] != nil && running {
		return &Forbidden{fmt.Errorf("endpoint with name %s already exists in network %s", c.Name, n.Name)}
	}
	if running {
		if err := ask(c.RunDir, &order{Connect: n.Name, Settings: set}); err != nil {
			return err
		}
	}
	all[n.Name] = set
	return keep(c, all)
}

// Disconnect takes a container from a network.
func (w *Networks) Disconnect(ctx context.Context, ref string, c *record.Container, running, force bool) error {
	n, err := w.M.Find(ref)
	if err != nil {
		return err
	}
	if c.HostConfig.NetworkMode.IsHost() {
		return &Forbidden{errors.New("container cannot be disconnected from host network - container was created in host network mode")}
	}
	_, all, err := w.M.settings(c)
	if err != nil {
		return err
	}
	if !Wired(c) || all[n.Name] == nil {
		return notConnected(c.ID, n.Name)
	}
	if running {
		if err := ask(c.RunDir, &order{Disconnect: n.Name}); err != nil && !force {
			return err
		}
		if ep, err := w.M.Store.Endpoint(n.ID, c.ID); err == nil && force {
			err = w.M.release(ctx, ep)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	delete(all, n.Name)
	return keep(c, all)
}
