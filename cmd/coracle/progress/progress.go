// Package progress shows how far a transfer is: bars on a terminal, one a layer
// with a total below, and elsewhere a line for each new state of a layer, as
// Docker prints them. It knows nothing of what is transferred.
package progress

import (
	"fmt"
	"io"
	"strings"
	"time"

	"coracle/image/registry"

	"github.com/docker/go-units"
)

// redraw is how often a terminal is written to.
const redraw = 100 * time.Millisecond

// Display shows events. It is for one goroutine at a time.
type Display struct {
	out   io.Writer
	size  func() (rows, cols int) // nil: no terminal
	now   func() time.Time
	order []*layer
	byID  map[string]*layer
	drawn int // lines on the terminal that are ours to overwrite
	last  time.Time
}

// layer is the newest of one layer.
type layer struct {
	registry.Event
	begun time.Time
	first int64 // bytes that were there when it began
	moved int64 // bytes moved since
}

// New makes a display. size is nil where out is no terminal.
func New(out io.Writer, size func() (rows, cols int)) *Display {
	return &Display{out: out, size: size, now: time.Now, byID: map[string]*layer{}}
}

// Show takes an event in.
func (d *Display) Show(e registry.Event) {
	if e.ID == "" {
		d.clear()
		if d.finished() {
			d.draw()
			d.drawn, d.order, d.byID = 0, nil, map[string]*layer{}
		}
		fmt.Fprintln(d.out, e.Line)
		d.draw()
		return
	}
	l := d.byID[e.ID]
	fresh := l == nil
	if fresh {
		l = &layer{}
		d.byID[e.ID], d.order = l, append(d.order, l)
	}
	changed := fresh || l.State != e.State
	moves := e.State == registry.Downloading || e.State == registry.Pushing
	if moves && changed {
		l.begun, l.first = d.now(), e.Now
	}
	if moves {
		l.moved = e.Now - l.first
	}
	l.Event = e
	switch {
	case d.size != nil:
		if changed || d.now().Sub(d.last) > redraw {
			d.clear()
			d.draw()
		}
	case changed && !moves && e.State != registry.Extracting:
		fmt.Fprintf(d.out, "%s: %s\n", e.ID, e.State)
	}
}

// finished tells whether all layers are: what follows them stands below.
func (d *Display) finished() bool {
	for _, l := range d.order {
		if !done(l.State) {
			return false
		}
	}
	return true
}

// Close leaves the last state on the terminal.
func (d *Display) Close() {
	d.clear()
	d.draw()
	d.drawn = 0
}

// clear puts the cursor where the first bar is.
func (d *Display) clear() {
	if d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\x1b[J", d.drawn)
		d.drawn = 0
	}
}

func (d *Display) draw() {
	if d.size == nil || len(d.order) == 0 {
		return
	}
	d.last = d.now()
	rows, cols := d.size()
	lines := d.lines(max(rows-2, 1), max(cols-1, 20))
	fmt.Fprint(d.out, strings.Join(lines, "\n")+"\n")
	d.drawn = len(lines)
}

// lines are what fits: where there are more layers than rows, those that are not
// done.
func (d *Display) lines(rows, cols int) []string {
	var all, open []string
	for _, l := range d.order {
		s := l.line(cols, d.now())
		all = append(all, s)
		if !done(l.State) {
			open = append(open, s)
		}
	}
	if len(all) > rows {
		all = open[:min(len(open), rows)]
	}
	if s := d.total(cols); s != "" {
		all = append(all, s)
	}
	return all
}

func done(state string) bool {
	switch state {
	case registry.Complete, registry.Exists, registry.Pushed, registry.There, registry.Mounted:
		return true
	}
	return false
}

func (l *layer) line(cols int, now time.Time) string {
	s := l.ID + ": " + l.State
	if l.Total > 0 && !done(l.State) {
		tail := fmt.Sprintf(" %s/%s", units.HumanSize(float64(l.Now)), units.HumanSize(float64(l.Total)))
		if took := now.Sub(l.begun).Seconds(); l.State != registry.Extracting && took > 0.5 {
			tail += fmt.Sprintf(" %s/s", units.HumanSize(float64(l.moved)/took))
		}
		s += bar(min(cols-len(s)-len(tail)-4, 50), l.Now, l.Total) + tail
	}
	if len(s) > cols {
		s = s[:cols]
	}
	return s
}

// bar is " [====>    ]", or nothing where there is no room.
func bar(width int, now, total int64) string {
	if width < 5 {
		return ""
	}
	n := int(float64(width) * float64(min(now, total)) / float64(total))
	b := strings.Repeat("=", n)
	if n < width {
		b += ">" + strings.Repeat(" ", width-n-1)
	}
	return " [" + b + "]"
}

// total sums up what is being moved.
func (d *Display) total(cols int) string {
	var now, all, moved int64
	var begun time.Time
	open := 0
	for _, l := range d.order {
		if l.begun.IsZero() {
			continue
		}
		if l.State == registry.Downloading || l.State == registry.Pushing {
			open++
		}
		if begun.IsZero() || l.begun.Before(begun) {
			begun = l.begun
		}
		moved += l.moved
		now, all = now+l.first+l.moved, all+max(l.Total, l.first+l.moved)
	}
	if open == 0 {
		return ""
	}
	s := fmt.Sprintf("total: %s/%s", units.HumanSize(float64(now)), units.HumanSize(float64(all)))
	if took := d.now().Sub(begun).Seconds(); took > 0.5 {
		s += fmt.Sprintf(" %s/s", units.HumanSize(float64(moved)/took))
	}
	return s[:min(len(s), cols)]
}
