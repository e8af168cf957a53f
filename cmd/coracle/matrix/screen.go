package matrix

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// keep is how much of a stream is kept for the reports, bytes.
const keep = 1 << 20

// tail keeps the end of what is written to it.
type tail struct {
	buf     []byte
	dropped int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - keep; over > keep {
		t.dropped += int64(over)
		t.buf = append(t.buf[:0:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	b, dropped := t.buf, t.dropped
	if over := len(b) - keep; over > 0 {
		b, dropped = b[over:], dropped+int64(over)
	}
	if dropped > 0 {
		return fmt.Sprintf("[%d bytes before this were left out]\n%s", dropped, b)
	}
	return string(b)
}

// longest is the length at which a line without an end is shown, bytes.
const longest = 32 << 10

// Screen shows the output of several cases, each line whole and after its
// case's name.
type Screen struct {
	Color bool
	Width int // of the longest name
	mu    sync.Mutex
	seen  []string
}

// Writer shows lines of the case called name on w.
func (s *Screen) Writer(w io.Writer, name string) io.WriteCloser {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	for i < len(s.seen) && s.seen[i] != name {
		i++
	}
	if i == len(s.seen) {
		s.seen = append(s.seen, name)
	}
	prefix := fmt.Sprintf("%-*s | ", s.Width, name)
	if s.Color {
		// The six colours that are readable on black and on white.
		prefix = fmt.Sprintf("\x1b[%dm%-*s |\x1b[0m ", 31+i%6, s.Width, name)
	}
	return &lines{screen: s, w: w, prefix: prefix}
}

type lines struct {
	screen *Screen
	w      io.Writer
	prefix string
	rest   []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	var out []byte
	for {
		n := bytes.IndexByte(l.rest, '\n')
		if n < 0 && len(l.rest) >= longest {
			n = longest - 1
			l.rest = append(l.rest[:n:n], append([]byte{'\n'}, l.rest[n:]...)...)
		}
		if n < 0 {
			break
		}
		out = append(append(out, l.prefix...), l.rest[:n+1]...)
		l.rest = l.rest[n+1:]
	}
	if len(out) == 0 {
		return len(p), nil
	}
	l.screen.mu.Lock()
	defer l.screen.mu.Unlock()
	_, err := l.w.Write(out)
	return len(p), err
}

// Close shows a last line that has no end.
func (l *lines) Close() error {
	if len(l.rest) == 0 {
		return nil
	}
	_, err := l.Write([]byte{'\n'})
	return err
}
