package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

func collect(t *testing.T, j *Journal, q Query) []string {
	t.Helper()
	var got []string
	if err := j.Read(context.Background(), q, func(m *Message) error {
		got = append(got, string(m.Action)+" "+m.Actor.ID)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func past() Query { return Query{Since: time.Unix(1, 0), Until: time.Now()} }

// TestBound: however much is written, two files of the size are what is kept, and
// the newest records are among it.
func TestBound(t *testing.T) {
	j := In(filepath.Join(t.TempDir(), "events"))
	j.size = 4096
	for i := range 500 {
		j.Log("container", "start", strconv.Itoa(i), nil)
	}
	var sum int64
	files, _ := filepath.Glob(j.dir + "/journal*")
	for _, f := range files {
		st, _ := os.Stat(f)
		sum += st.Size()
	}
	if sum > 2*j.size+1024 || sum == 0 {
		t.Errorf("%d bytes kept", sum)
	}
	got := collect(t, j, past())
	if len(got) < 20 || got[len(got)-1] != "start 499" {
		t.Fatalf("%d events, the last %v", len(got), got[max(0, len(got)-1):])
	}
	for i := range got {
		if want := fmt.Sprintf("start %d", 500-len(got)+i); got[i] != want {
			t.Fatalf("event %d is %q, want %q", i, got[i], want)
		}
	}
}

// TestCut: a record that a full disk cut off is no record, and spoils no other.
func TestCut(t *testing.T) {
	j := In(filepath.Join(t.TempDir(), "events"))
	j.Log("container", "create", "a", nil)
	f, err := os.OpenFile(j.path(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("\n" + `{"Type":"container","Act`)
	f.Close()
	j.Log("container", "die", "a", nil)
	if got := collect(t, j, past()); len(got) != 2 || got[1] != "die a" {
		t.Errorf("%q", got)
	}
}

// TestFollow: every event of several writers is seen once while the files turn.
func TestFollow(t *testing.T) {
	j := In(filepath.Join(t.TempDir(), "events"))
	j.size = 20 << 10
	const writers, each = 4, 100
	seen := map[string]int{}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := errors.New("all seen")
	start := make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			<-start
			for i := range each {
				j.Log("container", "start", fmt.Sprintf("%d-%d", w, i), map[string]string{"k": "v"})
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.AfterFunc(50*time.Millisecond, func() { close(start) })
	err := j.Read(ctx, Query{}, func(m *Message) error {
		seen[m.Actor.ID]++
		if len(seen) == writers*each {
			return done
		}
		return nil
	})
	all.Wait()
	if !errors.Is(err, done) {
		t.Errorf("%d of %d seen: %v", len(seen), writers*each, err)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was seen %d times", id, n)
		}
	}
}

// TestUntil: the reader ends by itself at a time to come.
func TestUntil(t *testing.T) {
	j := In(filepath.Join(t.TempDir(), "events"))
	time.AfterFunc(50*time.Millisecond, func() { j.Log("container", "start", "a", nil) })
	if got := collect(t, j, Query{Until: time.Now().Add(500 * time.Millisecond)}); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestFilter(t *testing.T) {
	m := &Message{Type: "container", Action: "exec_start: sh", Scope: "local"}
	m.Actor.ID, m.Actor.Attributes = "abcdef", map[string]string{"name": "web", "image": "box:latest", "tier": "front"}
	for _, c := range []struct {
		key, value string
		want       bool
	}{
		{"event", "exec_start", true}, {"event", "exec_start: sh", true}, {"event", "start", false},
		{"container", "web", true}, {"container", "abc", true}, {"container", "we", false},
		{"image", "box", true}, {"image", "box:latest", true}, {"image", "bo", false},
		{"type", "container", true}, {"type", "image", false}, {"volume", "web", false},
		{"label", "tier", true}, {"label", "tier=front", true}, {"label", "tier=back", false}, {"scope", "local", true},
	} {
		match, err := Filter(map[string][]string{c.key: {c.value}})
		if err != nil || match(m) != c.want {
			t.Errorf("%s=%s: %v %v", c.key, c.value, match(m), err)
		}
	}
	if _, err := Filter(map[string][]string{"colour": {"red"}}); err == nil {
		t.Error("an unknown key is taken")
	}
}
