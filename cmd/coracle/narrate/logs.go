package narrate

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// Logs prints what several containers write, each line whole and behind the
// name of its container.
type Logs struct {
	out    io.Writer
	color  bool
	prefix bool
	mu     sync.Mutex
	wide   int
	colors map[string]int
}

// NewLogs makes a printer; names are those that will be used, for the width.
func NewLogs(out io.Writer, color, prefix bool, names []string) *Logs {
	l := &Logs{out: out, color: color, prefix: prefix, colors: map[string]int{}}
	for _, n := range names {
		l.wide = max(l.wide, len(n))
	}
	return l
}

// palette are docker compose's colours: cyan, yellow, green, magenta, blue and
// their bright sisters.
var palette = [...]string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// Of is the writer of one container. Its Close prints what had no end of line.
func (l *Logs) Of(name string) *Lines {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.colors[name]; !ok {
		l.colors[name] = len(l.colors) % len(palette)
	}
	return &Lines{logs: l, name: name}
}

// Say prints a line of our own.
func (l *Logs) Say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.out, line)
}

// Lines puts bytes together to lines.
type Lines struct {
	logs *Logs
	name string
	mu   sync.Mutex
	rest []byte
}

// maxLine is when a line is printed although it has no end.
const maxLine = 64 << 10

func (w *Lines) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) < maxLine {
			return len(p), nil
		}
		line := w.rest
		if i >= 0 {
			line, w.rest = w.rest[:i], w.rest[i+1:]
		} else {
			w.rest = nil
		}
		if err := w.logs.line(w.name, line); err != nil {
			return 0, err
		}
	}
}

// Close prints what is left.
func (w *Lines) Close() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		err = w.logs.line(w.name, w.rest)
		w.rest = nil
	}
	return err
}

func (l *Logs) line(name string, text []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wide = max(l.wide, len(name))
	var b bytes.Buffer
	if l.prefix {
		head := fmt.Sprintf("%-*s | ", l.wide+1, name)
		if l.color {
			head = "\x1b[" + palette[l.colors[name]] + "m" + head + "\x1b[0m"
		}
		b.WriteString(head)
	}
	b.Write(text)
	b.WriteByte('\n')
	_, err := l.out.Write(b.Bytes())
	return err
}
