package events

import (
	"fmt"
	"slices"
	"strings"
)

// Filter makes a Match of `events --filter`'s values, by Docker's rules: any value
// of a key, every key.
func Filter(want map[string][]string) (func(*Message) bool, error) {
	for key := range want {
		switch key {
		case "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume":
		default:
			return nil, fmt.Errorf("invalid filter '%s'", key)
		}
	}
	return func(m *Message) bool {
		for key, values := range want {
			if !matches(m, key, values) {
				return false
			}
		}
		return true
	}, nil
}

func matches(m *Message, key string, values []string) bool {
	name, is := m.Actor.Attributes["name"], string(m.Type) == key
	switch key {
	case "event":
		// "exec_start: sh" is an exec_start, "health_status: healthy" a health_status.
		whole := string(m.Action)
		first, _, _ := strings.Cut(whole, ":")
		return slices.Contains(values, whole) || slices.Contains(values, first)
	case "type":
		return slices.Contains(values, string(m.Type))
	case "scope":
		return slices.Contains(values, m.Scope)
	case "label":
		// Every one of them.
		return !slices.ContainsFunc(values, func(v string) bool {
			k, value, has := strings.Cut(v, "=")
			got, ok := m.Actor.Attributes[k]
			return !ok || has && got != value
		})
	case "image":
		return slices.ContainsFunc(values, func(v string) bool { return ofImage(m, v) })
	case "container", "plugin":
		// A prefix of the ID is enough.
		return is && slices.ContainsFunc(values, func(v string) bool {
			return strings.HasPrefix(m.Actor.ID, v) || name == v
		})
	default:
		return is && slices.ContainsFunc(values, func(v string) bool {
			return m.Actor.ID == v || name == v || name == "" && strings.HasPrefix(m.Actor.ID, v)
		})
	}
}

// ofImage tells whether m is about an image, or about a container of it. Without a
// tag any tag is meant.
func ofImage(m *Message, ref string) bool {
	if m.Type != "image" && m.Type != "container" {
		return false
	}
	name := m.Actor.Attributes["image"]
	if m.Type == "image" {
		name = m.Actor.Attributes["name"]
	}
	return m.Type == "image" && m.Actor.ID == ref || name == ref || untagged(name) == ref
}

func untagged(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}
