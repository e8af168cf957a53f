// Package narrate tells what happens to a group: the progress of a command, as
// docker compose shows it, and the logs of its containers, each line behind the
// name of its container. It knows nothing of how things happen.
package narrate

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"coracle/group/act"
)

// Progress shows events until Close.
type Progress interface {
	Show(act.Event)
	Close()
}

// New makes the display of a mode: auto, tty, plain, json or quiet. size is nil
// where out is no terminal.
func New(mode, title string, out io.Writer, size func() (rows, cols uint16)) (Progress, error) {
	switch mode {
	case "quiet":
		return quiet{}, nil
	case "json":
		return &lines{out: out, json: true}, nil
	case "plain":
		return &lines{out: out}, nil
	case "tty":
		return &screen{out: out, title: title, size: size, begun: time.Now(), by: map[string]*row{}}, nil
	case "", "auto":
		if size != nil {
			return New("tty", title, out, size)
		}
		return New("plain", title, out, nil)
	}
	return nil, fmt.Errorf("unsupported --progress value %q: it is auto, tty, plain, json or quiet", mode)
}

type quiet struct{}

func (quiet) Show(act.Event) {}
func (quiet) Close()         {}

// lines is a line an event.
type lines struct {
	out  io.Writer
	json bool
}

func (l *lines) Show(e act.Event) {
	text := e.Text
	if e.Detail != "" {
		text += " " + e.Detail
	}
	if !l.json {
		fmt.Fprintln(l.out, "", e.ID, "", text)
		return
	}
	data, err := json.Marshal(struct {
		ID     string `json:"id,omitempty"`
		Text   string `json:"text,omitempty"`
		Status string `json:"status,omitempty"`
	}{e.ID, e.Detail, e.Text})
	if err == nil {
		fmt.Fprintln(l.out, string(data))
	}
}

func (l *lines) Close() {}

// screen draws all rows again at each event.
type screen struct {
	out   io.Writer
	title string
	size  func() (rows, cols uint16)
	begun time.Time
	order []*row
	by    map[string]*row
	drawn int
	last  time.Time
}

type row struct {
	act.Event
	begun, ended time.Time
}

// redraw bounds how often a terminal is written to.
const redraw = 50 * time.Millisecond

func (s *screen) Show(e act.Event) {
	r := s.by[e.ID]
	if r == nil {
		r = &row{begun: time.Now()}
		s.by[e.ID], s.order = r, append(s.order, r)
	}
	r.Event = e
	r.ended = time.Time{}
	if e.Status != act.Working {
		r.ended = time.Now()
	}
	if time.Since(s.last) > redraw {
		s.draw()
	}
}

func (s *screen) Close() {
	if len(s.order) > 0 {
		s.draw()
	}
}

func (s *screen) draw() {
	s.last = time.Now()
	rows, cols := uint16(24), uint16(80)
	if s.size != nil {
		if r, c := s.size(); r > 2 && c > 20 {
			rows, cols = r, c
		}
	}
	done := 0
	for _, r := range s.order {
		if r.Status != act.Working {
			done++
		}
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	fmt.Fprintf(&b, "\x1b[0G\x1b[K[+] %s %d/%d\n", s.title, done, len(s.order))
	show := s.order
	if n := len(show) - int(rows) + 2; n > 0 {
		show = show[n:]
	}
	wide := 0
	for _, r := range show {
		wide = max(wide, len(r.ID))
	}
	for _, r := range show {
		b.WriteString("\x1b[K" + r.line(wide, int(cols)) + "\n")
	}
	s.drawn = len(show) + 1
	io.WriteString(s.out, b.String())
}

func (r *row) line(wide, cols int) string {
	mark, color := "⠿", "33"
	switch r.Status {
	case act.Done:
		mark, color = "✔", "32"
	case act.Failed:
		mark, color = "✘", "31"
	case act.Warning:
		mark, color = "!", "33"
	}
	end := r.ended
	if end.IsZero() {
		end = time.Now()
	}
	text := r.Text
	if r.Detail != "" {
		text += " " + r.Detail
	}
	text = strings.ReplaceAll(text, "\n", " ")
	took := fmt.Sprintf("%.1fs", end.Sub(r.begun).Seconds())
	room := max(cols-wide-len(took)-6, 8)
	if runes := []rune(text); len(runes) > room {
		text = string(runes[:room-1]) + "…"
	}
	return fmt.Sprintf(" \x1b[%sm%s\x1b[0m %-*s  \x1b[%sm%-*s\x1b[0m%s", color, mark, wide, r.ID, color, room, text, took)
}
