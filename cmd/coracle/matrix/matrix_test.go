package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type nop struct{ io.Writer }

func (nop) Close() error { return nil }

func plan(start func(ctx context.Context, c Case, out, errs io.Writer) (int, error), names ...string) Plan {
	p := Plan{Jobs: len(names), Start: start, Streams: func(Case) (io.WriteCloser, io.WriteCloser) { return nop{io.Discard}, nop{io.Discard} }}
	for _, n := range names {
		p.Cases = append(p.Cases, Case{Platform: n, Runs: "native", Rung: "namespaces"})
	}
	return p
}

func words(results []Result) string {
	var out []string
	for _, r := range results {
		out = append(out, fmt.Sprintf("%s %s %d", r.Platform, r.Result, r.ExitCode))
	}
	return strings.Join(out, ", ")
}

func TestRun(t *testing.T) {
	p := plan(func(ctx context.Context, c Case, out, errs io.Writer) (int, error) {
		fmt.Fprint(out, "out of "+c.Platform)
		fmt.Fprint(errs, "err of "+c.Platform)
		switch c.Platform {
		case "a":
			return 0, nil
		case "b":
			return 3, nil
		case "c":
			return 0, errors.New("no such thing")
		}
		return 125, nil
	}, "a", "b", "c", "d")
	p.Cases = append(p.Cases, Case{Platform: "e", Wrong: "no emulator"})
	got := Run(context.Background(), p)
	if want := "a passed 0, b failed 3, c error -1, d error 125, e error -1"; words(got) != want {
		t.Errorf("%s, want %s", words(got), want)
	}
	if got[1].Stdout != "out of b" || got[1].Stderr != "err of b" || got[1].Why != "exit code 3" || got[4].Why != "no emulator" {
		t.Errorf("%+v", got)
	}
	for n, want := range map[int]int{1: 0, 2: 1, 3: 125, 5: 125} {
		if code := Code(got[:n]); code != want {
			t.Errorf("of the first %d: code %d, want %d", n, code, want)
		}
	}
}

func TestJobs(t *testing.T) {
	var now, most atomic.Int32
	p := plan(func(context.Context, Case, io.Writer, io.Writer) (int, error) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(10 * time.Millisecond)
		now.Add(-1)
		return 0, nil
	}, strings.Split("abcdefgh", "")...)
	for _, jobs := range []int{1, 3, 0} {
		most.Store(0)
		p.Jobs = jobs
		Run(context.Background(), p)
		if int(most.Load()) != max(jobs, 1) {
			t.Errorf("%d at once, want %d", most.Load(), jobs)
		}
	}
}

// stopped returns a program that runs until it is stopped; that of the platform
// "quick" fails by itself, once another runs.
func stopped() func(context.Context, Case, io.Writer, io.Writer) (int, error) {
	runs := make(chan struct{})
	first := sync.OnceFunc(func() { close(runs) })
	return func(ctx context.Context, c Case, _, _ io.Writer) (int, error) {
		if c.Platform == "quick" {
			<-runs
			return 9, nil
		}
		first()
		<-ctx.Done()
		return 143, nil
	}
}

func TestStopping(t *testing.T) {
	p := plan(stopped(), "x", "quick", "y")
	p.Timeout = 20 * time.Millisecond
	if got, want := words(Run(context.Background(), p)), "x timed out 143, quick failed 9, y timed out 143"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.Timeout, p.FailFast, p.Jobs, p.Start = 0, true, 2, stopped()
	if got, want := words(Run(context.Background(), p)), "x cancelled 143, quick failed 9, y not run -1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	p.FailFast, p.Jobs = false, 1
	if got, want := words(Run(ctx, p)), "x cancelled 143, quick cancelled -1, y cancelled -1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestScreen(t *testing.T) {
	var b bytes.Buffer
	s := &Screen{Width: 3}
	a, c := s.Writer(&b, "a"), s.Writer(&b, "ccc")
	io.WriteString(a, "one\ntw")
	io.WriteString(c, "x\n\n")
	io.WriteString(a, "o\nthree")
	a.Close()
	c.Close()
	want := "a   | one\nccc | x\nccc | \na   | two\na   | three\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	w := s.Writer(&b, "a")
	for range 100 {
		io.WriteString(w, strings.Repeat("z", 1000))
	}
	w.Close()
	if lines := strings.Count(b.String(), "\n"); lines != 100*1000/(longest-1)+1 || strings.Count(b.String(), "z") != 100*1000 {
		t.Errorf("a long line became %d lines with %d of 100000 bytes", lines, strings.Count(b.String(), "z"))
	}
	b.Reset()
	s.Color = true
	io.WriteString(s.Writer(&b, "a"), "x\n")
	if b.String() != "\x1b[31ma   |\x1b[0m x\n" {
		t.Errorf("%q", b.String())
	}
}

func TestTail(t *testing.T) {
	var l tail
	for range 50 {
		l.Write(bytes.Repeat([]byte("x"), 100_000))
	}
	l.Write([]byte("end"))
	s := l.String()
	if !strings.HasSuffix(s, "xend") || len(s) > keep+100 || !strings.HasPrefix(s, fmt.Sprintf("[%d bytes ", 50*100_000+3-keep)) {
		t.Errorf("%d bytes, %.60q", len(s), s)
	}
}

// every is all bytes, and what is valid UTF-8 but not in XML.
func every() string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String() + "]]> <!-- &amp; \ufffe\uffff \U0001F6F6 é"
}

func TestReports(t *testing.T) {
	r := &Report{Image: `im"age<`, Command: []string{"sh", "-c", every()}, Started: time.Unix(0, 0), Seconds: 1.5, Results: []Result{
		{Case: Case{Platform: "linux/amd64", Runs: "native", Rung: "namespaces"}, Result: Passed, Started: time.Unix(1, 0), Seconds: 1, Stdout: every(), Stderr: every()},
		{Case: Case{Platform: "linux/arm64"}, Result: Failed, ExitCode: 3, Why: "exit code 3"},
		{Case: Case{Platform: "linux/s390x"}, Result: Broken, ExitCode: -1, Why: every()},
		{Case: Case{Platform: "linux/arm/v7"}, Result: NotRun, ExitCode: -1},
		{Case: Case{Platform: "linux/386"}, Result: Cancelled, ExitCode: -1},
	}}
	var b bytes.Buffer
	if err := r.JUnit(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Suite struct {
			Name  string     `xml:"name,attr"`
			Attrs []xml.Attr `xml:",any,attr"`
			Cases []struct {
				Name    string    `xml:"name,attr"`
				Out     string    `xml:"system-out"`
				Failure *struct{} `xml:"failure"`
				Error   *struct {
					Message string `xml:"message,attr"`
				} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	s := got.Suite
	if s.Name != r.Image || len(s.Cases) != 5 || !strings.Contains(fmt.Sprint(s.Attrs), "{ tests} 5} {{ failures} 1} {{ errors} 2} {{ skipped} 1}") {
		t.Errorf("%+v", s)
	}
	if c := s.Cases[0]; !strings.Contains(c.Out, "␀␁") || !strings.Contains(c.Out, "\t\n") || !strings.Contains(c.Out, "]]> <!-- &amp; ") || c.Failure != nil || c.Error != nil {
		t.Errorf("%q", c.Out)
	}
	if s.Cases[1].Failure == nil || s.Cases[2].Error == nil || s.Cases[3].Skipped == nil || s.Cases[4].Error == nil {
		t.Errorf("%+v", s.Cases)
	}
	b.Reset()
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var again Report
	if err := json.Unmarshal(b.Bytes(), &again); err != nil || len(again.Results) != 5 || again.Results[1].ExitCode != 3 {
		t.Errorf("%v %+v", err, again)
	}
	b.Reset()
	r.Results[2].Why = "no emulator"
	r.Table(&b)
	if n := strings.Count(b.String(), "\n"); n != 6 || !strings.Contains(b.String(), "linux/s390x") || !strings.Contains(b.String(), "error: no emulator") {
		t.Errorf("%s", b.String())
	}
}
