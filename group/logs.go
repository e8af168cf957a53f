package group

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sort"
	"sync"
	"time"

	"coracle/engine"
	"coracle/group/act"
	"coracle/group/plan"
)

// FollowLogs shows what containers write until all have ended.
func FollowLogs(ctx context.Context, e act.Engine, list []*plan.Container, o engine.LogOptions, to func(*plan.Container) io.WriteCloser) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, c := range list {
		w := to(c)
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = e.Logs(ctx, c.ID, o, w, w)
			w.Close()
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// entry is a line with its time.
type entry struct {
	at   time.Time
	from int
	text []byte // without the time, unless it was asked for
}

// maxKept is how many bytes of logs are put in order at once; more are shown a
// container at a time.
const maxKept = 64 << 20

// MergeLogs shows what containers have written, in the order of time.
func MergeLogs(ctx context.Context, e act.Engine, list []*plan.Container, o engine.LogOptions, to func(*plan.Container) io.WriteCloser) error {
	stamps := o.Timestamps
	o.Timestamps = true
	var entries []entry
	writers := make([]io.WriteCloser, len(list))
	kept := 0
	flush := func() error {
		sort.SliceStable(entries, func(i, j int) bool { return entries[i].at.Before(entries[j].at) })
		for _, l := range entries {
			if _, err := writers[l.from].Write(l.text); err != nil {
				return err
			}
		}
		entries, kept = nil, 0
		return nil
	}
	for i, c := range list {
		writers[i] = to(c)
		w := &splitter{line: func(line []byte) error {
			l := entry{from: i, text: line}
			if stamp, rest, ok := bytes.Cut(line, []byte(" ")); ok {
				if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err == nil {
					l.at = at
					if !stamps {
						l.text = rest
					}
				}
			}
			entries = append(entries, l)
			if kept += len(line); kept > maxKept {
				return flush()
			}
			return nil
		}}
		if err := e.Logs(ctx, c.ID, o, w, w); err != nil {
			return err
		}
		if err := w.end(); err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for _, w := range writers {
		w.Close()
	}
	return nil
}

// splitter hands on whole lines, each with its end.
type splitter struct {
	line func([]byte) error
	rest []byte
}

func (s *splitter) Write(p []byte) (int, error) {
	s.rest = append(s.rest, p...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			return len(p), nil
		}
		if err := s.line(bytes.Clone(s.rest[:i+1])); err != nil {
			return 0, err
		}
		s.rest = s.rest[i+1:]
	}
}

func (s *splitter) end() error {
	if len(s.rest) == 0 {
		return nil
	}
	return s.line(append(s.rest, '\n'))
}
