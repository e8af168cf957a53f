package wiring

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"coracle/engine/record"
	"coracle/net/network"
	"coracle/net/objects"
)

// link is one --link: a container, by ID or name, and what it is called.
type link struct{ to, alias string }

// parseLink reads NAME[:ALIAS], or /NAME:/SELF/ALIAS, which inspect shows.
func parseLink(text string) (name, alias string, err error) {
	parts := strings.Split(text, ":")
	name = strings.TrimPrefix(parts[0], "/")
	switch {
	case len(parts) > 2 || name == "":
		return "", "", fmt.Errorf("bad format for links: %s", text)
	case len(parts) == 2:
		alias = parts[1][strings.LastIndex(parts[1], "/")+1:]
	default:
		alias = name
	}
	if alias == "" {
		return "", "", fmt.Errorf("bad format for links: %s", text)
	}
	return name, alias, nil
}

// checkLinks gives every --link to the networks that it is for.
func (m *Manager) checkLinks(c *record.Container) error {
	primary := Primary(c.HostConfig.NetworkMode)
	for _, text := range c.HostConfig.Links {
		name, _, err := parseLink(text)
		if err != nil {
			return &Refusal{err}
		}
		// On a network of users' it may come later, as with Docker.
		if _, err := m.Containers.Find(name); err != nil && primary == objects.Bridge {
			return &Refusal{fmt.Errorf("could not get container for %s: No such container: %s", name, name)}
		}
	}
	if es := c.Networks[primary]; es != nil && primary != objects.Bridge {
		for _, l := range c.HostConfig.Links {
			if !slices.Contains(es.Links, l) {
				es.Links = append(es.Links, l)
			}
		}
	}
	return nil
}

// links are those of c on a network; of the default one those of the container.
func (m *Manager) links(c *record.Container, n *network.Network, more []string) ([]link, error) {
	texts := more
	if n.Default {
		texts = c.HostConfig.Links
	}
	var out []link
	for _, text := range texts {
		name, alias, err := parseLink(text)
		if err != nil {
			return nil, &Refusal{err}
		}
		id, err := m.Containers.Find(name)
		switch {
		case err == nil && (n.Default || strings.HasPrefix(id, name)):
			name = id
		case err == nil, errors.Is(err, record.ErrNotFound) && !n.Default:
		default:
			return nil, &NotFound{fmt.Errorf("could not get container for %s: No such container: %s", name, name)}
		}
		out = append(out, link{name, alias})
	}
	return out, nil
}

// LinkEnv are the variables that links on the default network set, Docker's
// legacy.
func (m *Manager) LinkEnv(c *record.Container) ([]string, error) {
	if !Wired(c) || len(c.HostConfig.Links) == 0 || Primary(c.HostConfig.NetworkMode) != objects.Bridge {
		return nil, nil
	}
	n, err := m.Find(objects.Bridge)
	if err != nil {
		return nil, err
	}
	list, err := m.links(c, n, nil)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, l := range list {
		to, err := m.Containers.Load(l.to)
		if err != nil {
			return nil, err
		}
		ep, err := m.Store.Endpoint(n.ID, l.to)
		if err != nil || !m.alive(l.to) {
			return nil, &Conflict{fmt.Errorf("Cannot link to a non running container: /%s AS /%s/%s", to.Name, c.Name, l.alias)}
		}
		env = append(env, linkEnv(c.Name, l.alias, to, ep)...)
	}
	return env, nil
}

func linkEnv(self, alias string, to *record.Container, ep *network.Endpoint) []string {
	prefix := strings.ToUpper(strings.ReplaceAll(alias, "-", "_"))
	ip := addr(ep.IPv4)
	var env []string
	for i, r := range declared(to.Config, to.HostConfig) {
		if i == 0 {
			env = append(env, fmt.Sprintf("%s_PORT=%s://%s:%d", prefix, r.Proto, ip, r.First))
		}
		first := fmt.Sprintf("%s_PORT_%d_%s", prefix, r.First, strings.ToUpper(r.Proto))
		if r.Count > 1 {
			last := strconv.Itoa(int(r.First + r.Count - 1))
			env = append(env, first+fmt.Sprintf("_START=%s://%s:%d", r.Proto, ip, r.First), first+"_PORT_START="+strconv.Itoa(int(r.First)),
				first+fmt.Sprintf("_END=%s://%s:%s", r.Proto, ip, last), first+"_PORT_END="+last)
		}
		for n := range r.Count {
			port := r.First + n
			key := fmt.Sprintf("%s_PORT_%d_%s", prefix, port, strings.ToUpper(r.Proto))
			env = append(env, fmt.Sprintf("%s=%s://%s:%d", key, r.Proto, ip, port), key+"_ADDR="+ip,
				key+"_PORT="+strconv.Itoa(int(port)), key+"_PROTO="+r.Proto)
		}
	}
	env = append(env, fmt.Sprintf("%s_NAME=/%s/%s", prefix, self, alias))
	for _, kv := range to.Config.Env {
		name, value, ok := strings.Cut(kv, "=")
		// Those that every image has say nothing about the container.
		if ok && name != "HOME" && name != "PATH" {
			env = append(env, prefix+"_ENV_"+name+"="+value)
		}
	}
	return env
}
