package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"coracle/image/registry"
)

func events() []registry.Event {
	return []registry.Event{
		{Line: "latest: Pulling from x"},
		{ID: "aaaaaaaaaaaa", State: registry.Waiting}, {ID: "bbbbbbbbbbbb", State: registry.Exists},
		{ID: "aaaaaaaaaaaa", State: registry.Downloading, Now: 1 << 20, Total: 4 << 20},
		{ID: "aaaaaaaaaaaa", State: registry.Downloading, Now: 3 << 20, Total: 4 << 20},
		{ID: "aaaaaaaaaaaa", State: registry.Downloaded},
		{ID: "aaaaaaaaaaaa", State: registry.Extracting, Now: 1, Total: 4 << 20},
		{ID: "aaaaaaaaaaaa", State: registry.Complete}, {Line: "Status: done"},
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	d := New(&b, nil)
	for _, e := range events() {
		d.Show(e)
	}
	d.Close()
	want := "latest: Pulling from x\naaaaaaaaaaaa: Pulling fs layer\nbbbbbbbbbbbb: Already exists\naaaaaaaaaaaa: Download complete\naaaaaaaaaaaa: Pull complete\nStatus: done\n"
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}

// screen is what a terminal shows after s.
func screen(s string) []string {
	lines, at := []string{""}, 0
	for s != "" {
		switch {
		case strings.HasPrefix(s, "\x1b[J"):
			lines = lines[:at+1]
			lines[at], s = "", s[3:]
		case strings.HasPrefix(s, "\x1b["):
			n := 0
			for s = s[2:]; s[0] != 'A'; s = s[1:] {
				n = n*10 + int(s[0]-'0')
			}
			at, s = at-n, s[1:]
		case s[0] == '\n':
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
			s = s[1:]
		default:
			lines[at] += s[:1]
			s = s[1:]
		}
	}
	return lines
}

func TestBars(t *testing.T) {
	var b bytes.Buffer
	clock := time.Unix(0, 0)
	d := New(&b, func() (int, int) { return 24, 80 })
	d.now = func() time.Time { clock = clock.Add(time.Second); return clock }
	seen := ""
	for _, e := range events() {
		d.Show(e)
		if e.Now == 3<<20 {
			seen = strings.Join(screen(b.String()), "\n")
		}
	}
	d.Close()
	for _, want := range []string{"aaaaaaaaaaaa: Downloading [=", "3.146MB/4.194MB", "299.6kB/s", "bbbbbbbbbbbb: Already exists", "total: 3.146MB/4.194MB"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in\n%s", want, seen)
		}
	}
	want := "latest: Pulling from x\naaaaaaaaaaaa: Pull complete\nbbbbbbbbbbbb: Already exists\nStatus: done\n"
	if got := strings.Join(screen(b.String()), "\n"); got != want {
		t.Errorf("in the end:\n%s", got)
	}
	for _, l := range strings.Split(seen, "\n") {
		if len(l) > 80 {
			t.Errorf("too long: %q", l)
		}
	}
}

// TestManyLayers: no more lines than the terminal has, or they could not be
// overwritten.
func TestManyLayers(t *testing.T) {
	var b bytes.Buffer
	d := New(&b, func() (int, int) { return 5, 40 })
	for i := range 40 {
		d.Show(registry.Event{ID: strings.Repeat(string(rune('a'+i%26)), 11) + string(rune('0'+i)), State: registry.Waiting})
	}
	if d.drawn > 4 {
		t.Errorf("%d lines on a terminal of 5", d.drawn)
	}
}
