package engine

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/engine/record"
	"coracle/engine/wiring"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
)

// filter is what ps was asked to show: of one key any value, of all keys each.
type filter struct {
	e             *Engine
	want          map[string][]string
	exited        []int
	names         []*regexp.Regexp
	ancestors     map[string]bool // image IDs
	before, since time.Time
}

func newFilter(want map[string][]string) (*filter, error) {
	f := &filter{want: want}
	for key, values := range want {
		switch key {
		case "id", "label", "status", "ancestor", "before", "since", "volume", "network", "health", "publish", "expose", "is-task":
		case "name":
			for _, v := range values {
				re, err := regexp.Compile(v)
				if err != nil {
					return nil, fail(Invalid, err, "invalid filter 'name=%s': %v", v, err)
				}
				f.names = append(f.names, re)
			}
		case "exited":
			for _, v := range values {
				n, err := strconv.Atoi(v)
				if err != nil {
					return nil, fail(Invalid, err, "invalid filter 'exited=%s'", v)
				}
				f.exited = append(f.exited, n)
			}
		default:
			return nil, fail(Invalid, nil, "invalid filter '%s'", key)
		}
		if err := sound(key, values); err != nil {
			return nil, err
		}
		if key == "health" {
			for _, v := range values {
				if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
					return nil, invalid(err)
				}
			}
		}
		if key == "status" {
			for _, v := range values {
				if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
					return nil, fail(Invalid, err, "invalid filter 'status=%s'", v)
				}
			}
		}
	}
	return f, nil
}

// sound refuses values of filters for which nothing is looked up.
func sound(key string, values []string) error {
	for _, v := range values {
		switch key {
		case "is-task":
			if _, err := strconv.ParseBool(v); err != nil {
				return fail(Invalid, err, "invalid filter 'is-task=%v'", values)
			}
		case "publish", "expose":
			if _, err := network.ParsePortRange(v); err != nil {
				return fail(Invalid, err, "error while looking up for %s %s: %v", key, v, err)
			}
		}
	}
	return nil
}

func (f *filter) has(key string) bool { return len(f.want[key]) > 0 }

// resolve looks up what the filter names by reference.
func (f *filter) resolve(ctx context.Context, e *Engine, list []listed) error {
	f.e = e
	for _, ref := range f.want["ancestor"] {
		if f.ancestors == nil {
			f.ancestors = map[string]bool{}
		}
		if img, err := e.images.Get(ctx, ref, ""); err == nil {
			f.ancestors[img.ID] = true
		}
	}
	for _, pair := range []struct {
		key string
		to  *time.Time
	}{{"before", &f.before}, {"since", &f.since}} {
		for _, ref := range f.want[pair.key] {
			id, err := e.store.Find(ref)
			if err != nil {
				return noContainer(ref, err)
			}
			i := slices.IndexFunc(list, func(l listed) bool { return l.c.ID == id })
			if i >= 0 {
				*pair.to = list[i].c.Created
			}
		}
	}
	return nil
}

func (f *filter) match(l listed) bool {
	c := l.c
	any := func(key string, ok func(v string) bool) bool {
		return !f.has(key) || slices.ContainsFunc(f.want[key], ok)
	}
	if !f.before.IsZero() && !c.Created.Before(f.before) || !f.since.IsZero() && !c.Created.After(f.since) {
		return false
	}
	if len(f.exited) > 0 && (l.s.Status() != container.StateExited || !slices.Contains(f.exited, l.s.ExitCode)) {
		return false
	}
	if len(f.names) > 0 && !slices.ContainsFunc(f.names, func(re *regexp.Regexp) bool {
		return re.MatchString(c.Name) || re.MatchString("/"+c.Name)
	}) {
		return false
	}
	// Every label must be there, unlike the other keys.
	for _, v := range f.want["label"] {
		key, value, has := strings.Cut(v, "=")
		if got, ok := c.Config.Labels[key]; !ok || has && got != value {
			return false
		}
	}
	return any("id", func(v string) bool { return strings.HasPrefix(c.ID, v) }) &&
		any("status", func(v string) bool { return string(l.s.Status()) == v }) &&
		any("ancestor", func(v string) bool { return v == c.Config.Image || f.ancestors[c.ImageID] }) &&
		any("health", func(v string) bool { return v == healthWord(&l.s) }) &&
		any("is-task", func(v string) bool { return v == "false" || v == "0" }) &&
		any("publish", func(v string) bool { return wiring.Publishes(c, l.s.Running, v) }) &&
		any("expose", func(v string) bool { return f.exposes(l, v) }) &&
		any("network", func(v string) bool { return f.e.wires.On(c, v) }) &&
		any("volume", func(v string) bool {
			return slices.ContainsFunc(c.Mounts, func(m record.Mount) bool {
				return m.Type != mount.TypeTmpfs && (m.Name == v || m.Source == v || m.Destination == v)
			})
		})
}

func (f *filter) exposes(l listed, v string) bool {
	if !strings.Contains(v, "/") {
		v += "/tcp"
	}
	for p := range l.c.Config.ExposedPorts {
		if p.String() == v {
			return true
		}
	}
	return false
}

func healthWord(s *record.State) string {
	if s.Health == nil {
		return string(container.NoHealthcheck)
	}
	return string(s.Health.Status)
}
