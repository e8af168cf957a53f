package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"coracle/cmd/coracle/compose"
	"coracle/engine"
	"coracle/supervise"

	"github.com/urfave/cli/v2"
)

func ofGroupsFlag() cli.Flag {
	return toggle("group", "", "The names are those of groups (Compose projects), whose containers are there")
}

// groupUnits are the units of groups: one each, or one of each container.
func groupUnits(t *tool, c *cli.Context, eng *engine.Engine, o supervise.Options) ([]*supervise.Unit, error) {
	var all []*supervise.Unit
	for _, name := range c.Args().Slice() {
		men, err := compose.Crew(c.Context, eng, name)
		if err != nil {
			return nil, err
		}
		if !c.Bool("services") {
			u, err := supervise.OfGroup(name, men, o)
			if err != nil {
				return nil, err
			}
			all = append(all, u)
			continue
		}
		units, warnings, err := supervise.OfServices(men, o)
		if err != nil {
			return nil, err
		}
		for _, w := range warnings {
			t.warn(w)
		}
		all = append(all, units...)
	}
	return all, nil
}

// superviseGroup runs a group's containers, each in the foreground of a process
// of its own below this one.
func superviseGroup(t *tool, c *cli.Context, v *verb) error {
	h, err := supervise.NewHerald(c.String("ready"), c.Int("notify-fd"))
	if err != nil {
		return usage(v.spelling, err)
	}
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	name := c.Args().First()
	men, err := compose.Crew(c.Context, eng, name)
	if err != nil {
		return err
	}
	w := newPrefixes(t.Out, name, men)
	crew, err := supervise.NewCrew(men, h, supervise.CrewOptions{
		Globals: placeArgs(&t.options), NoLog: c.Bool("no-log"),
		Output: func(name string) io.WriteCloser { return w.of(strings.TrimPrefix(name, c.Args().First()+"-")) },
		Ended:  func(name string, code int) { fmt.Fprintf(t.Err, "%s exited with code %d\n", name, code) },
	})
	if err != nil {
		return err
	}
	signals, stop := forward(true, false, nil)
	defer stop()
	code, err := crew.Run(signals)
	h.Ended(code)
	return ended(code, err)
}

// prefixes writes lines of several containers, each after its name.
type prefixes struct {
	mu    sync.Mutex
	out   io.Writer
	width int
}

func newPrefixes(out io.Writer, group string, men []supervise.Crewman) *prefixes {
	p := &prefixes{out: out}
	for _, m := range men {
		short := strings.TrimPrefix(strings.TrimPrefix(m.Name, "/"), group+"-")
		p.width = max(p.width, len(short))
	}
	return p
}

func (p *prefixes) of(name string) io.WriteCloser { return &prefixed{p: p, name: name} }

type prefixed struct {
	p    *prefixes
	name string
	part []byte // of a line
}

// maxLine is what is kept of a line that does not end.
const maxLine = 64 << 10

func (w *prefixed) Write(data []byte) (int, error) {
	all := len(data)
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		w.part, data = append(w.part, line...), rest
		if whole || len(w.part) > maxLine {
			w.flush()
		}
	}
	return all, nil
}

func (w *prefixed) flush() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	fmt.Fprintf(w.p.out, "%-*s  | %s\n", w.p.width, w.name, w.part)
	w.part = w.part[:0]
}

func (w *prefixed) Close() error {
	if len(w.part) > 0 {
		w.flush()
	}
	return nil
}

// groupState is how many of a group's containers are in which state.
func groupState(ctx context.Context, eng *engine.Engine, name string) string {
	men, err := compose.Crew(ctx, eng, name)
	if err != nil {
		return "missing"
	}
	count := map[string]int{}
	for _, m := range men {
		count[string(m.State.Status)]++
	}
	var states []string
	for _, s := range slices.Sorted(maps.Keys(count)) {
		states = append(states, fmt.Sprintf("%s(%d)", s, count[s]))
	}
	return strings.Join(states, ", ")
}
