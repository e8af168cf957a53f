package main

import (
	"bytes"
	"strings"

	"coracle/testkernel/matrix/plan"
)

// outcome is what one package's tests came to on one kernel.
type outcome struct {
	Step    string
	Ended   bool
	Code    int
	Error   string
	Seconds float64
	Passed  int
	Failed  []string
	Skipped []skip
	Lines   []string // of the whole output
}

// skip is a test that was not run, and the reason that it gave.
type skip struct{ Step, Test, Why string }

func (o *outcome) ok() bool {
	return o.Ended && o.Code == 0 && o.Error == "" && len(o.Failed) == 0
}

// reader divides a machine's output into outcomes. It is an io.Writer.
type reader struct {
	part     []byte
	outcomes []outcome
	rungs    map[string]string // of each user
	test     string            // whose lines come
	said     map[string]string // the last line that a test logged
}

func newReader() *reader { return &reader{rungs: map[string]string{}, said: map[string]string{}} }

func (r *reader) Write(p []byte) (int, error) {
	r.part = append(r.part, p...)
	for {
		i := bytes.IndexByte(r.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		r.line(strings.TrimRight(string(r.part[:i]), "\r"))
		r.part = r.part[i+1:]
	}
}

func (r *reader) line(s string) {
	if m, ok := plan.ReadMark(s); ok {
		r.mark(m)
		return
	}
	if len(r.outcomes) == 0 {
		return
	}
	o := &r.outcomes[len(r.outcomes)-1]
	o.Lines = append(o.Lines, s)
	if text, ok := strings.CutPrefix(s, "rungs "); ok {
		user, rungs, _ := strings.Cut(text, " ")
		r.rungs[user] = rungs
	}
	r.verbose(o, s)
}

func (r *reader) mark(m plan.Mark) {
	if !m.Ended {
		r.outcomes = append(r.outcomes, outcome{Step: m.Step})
		r.test, r.said = "", map[string]string{}
		return
	}
	if n := len(r.outcomes); n > 0 && r.outcomes[n-1].Step == m.Step {
		o := &r.outcomes[n-1]
		o.Ended, o.Code, o.Seconds, o.Error = true, m.Code, m.Seconds, m.Error
	}
}

// verbose reads a line of a test binary's -test.v.
func (r *reader) verbose(o *outcome, s string) {
	for _, head := range []string{"=== RUN   ", "=== NAME  ", "=== CONT  "} {
		if name, ok := strings.CutPrefix(strings.TrimLeft(s, " "), head); ok {
			r.test = strings.TrimSpace(name)
			return
		}
	}
	word, rest, _ := strings.Cut(strings.TrimLeft(s, " "), ": ")
	name, _, _ := strings.Cut(rest, " ")
	switch word {
	case "--- PASS":
		o.Passed++
	case "--- FAIL":
		o.Failed = append(o.Failed, name)
	case "--- SKIP":
		o.Skipped = append(o.Skipped, skip{o.Step, name, r.said[name]})
	default:
		// "    file_test.go:12: text", before the result; behind it where a test
		// shows the output of another process.
		place, text, ok := strings.Cut(strings.TrimSpace(s), ": ")
		file, _, found := strings.Cut(place, ":")
		if !ok || !found || !strings.HasSuffix(file, ".go") {
			return
		}
		r.said[r.test] = text
		if n := len(o.Skipped); n > 0 && o.Skipped[n-1].Why == "" {
			o.Skipped[n-1].Why = text
		}
	}
}
