package engine

import (
	"context"
	"maps"
	"strconv"

	"coracle/engine/events"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/mount"
)

// happened writes an event of a container, with more attributes than those that
// every one has: pairs of a name and a value.
func happened(e *Engine, c *record.Container, what events.Action, more ...string) {
	all := map[string]string{}
	if c.Config != nil {
		maps.Copy(all, c.Config.Labels)
		all["image"] = c.Config.Image
	}
	all["name"] = c.Name
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	e.journal.Log("container", what, c.ID, all)
}

// tell is happened for a monitor, whose container may have another name by now.
func (l *life) tell(what events.Action, more ...string) {
	c := l.c
	if now, err := l.e.store.Load(c.ID); err == nil {
		c = now
	}
	happened(l.e, c, what, more...)
}

// tellVolumes tells of each volume that l's container has it now, or no more.
func tellVolumes(l *life, mounted bool) {
	if mounted == l.mounted {
		return
	}
	l.mounted = mounted
	for i := range l.c.Mounts {
		m := &l.c.Mounts[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		with := map[string]string{"container": l.c.ID, "driver": m.Driver}
		if !mounted {
			Tell(l.e, "volume", "unmount", m.Name, with)
			continue
		}
		with["destination"], with["propagation"] = m.Destination, string(m.Propagation)
		with["read/write"] = strconv.FormatBool(m.RW)
		Tell(l.e, "volume", "mount", m.Name, with)
	}
}

// EventQuery says which events are wanted.
type EventQuery = events.Query

// Events hands the events that q and the filters want to show, until q.Until, the
// end of ctx or an error of show.
func Events(ctx context.Context, e *Engine, q EventQuery, filters map[string][]string, show func(*events.Message) error) error {
	var err error
	if q.Match, err = events.Filter(filters); err != nil {
		return invalid(err)
	}
	return e.journal.Read(ctx, q, show)
}

// Tell writes an event of something else than a container, or of all of them.
func Tell(e *Engine, t events.Type, what events.Action, id string, attributes map[string]string) {
	e.journal.Log(t, what, id, attributes)
}
