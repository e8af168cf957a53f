// Package matrix runs one command for several platforms, side by side, and
// reports what came of each. It knows nothing of containers: its caller gives
// it what starts and stops them.
package matrix

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"
)

// Case is one platform, and how its programs run here.
type Case struct {
	Platform string `json:"platform"`         // os/arch[/variant]
	Runs     string `json:"runs"`             // "native", or the emulator and how it is called upon
	Rung     string `json:"rung"`             // of isolation
	Wrong    string `json:"cannot,omitempty"` // why it cannot run at all; "" if it may
}

// The results of a case.
const (
	Passed    = "passed"
	Failed    = "failed"    // the program ended with another code than 0
	Broken    = "error"     // it could not be started: exit code 125
	TimedOut  = "timed out" // it was stopped at its limit
	Cancelled = "cancelled" // it was stopped, or never started, as we were told to end
	NotRun    = "not run"   // another had failed before (--fail-fast)
)

// Result is what came of a case.
type Result struct {
	Case
	Result   string    `json:"result"`
	ExitCode int       `json:"exitCode"` // -1: it has none
	Started  time.Time `json:"started,omitzero"`
	Seconds  float64   `json:"seconds"`
	Why      string    `json:"why,omitempty"` // for all but Passed
	Stdout   string    `json:"stdout"`        // the last megabyte
	Stderr   string    `json:"stderr"`
}

// Plan is what to run and how.
type Plan struct {
	Cases    []Case
	Jobs     int           // how many at once; at least 1
	Timeout  time.Duration // of each; 0: none
	FailFast bool
	// Start runs a case to its end. When ctx is done it stops it, and returns
	// when that is done. The code is the program's; an error is for what could
	// not be started at all.
	Start func(ctx context.Context, c Case, stdout, stderr io.Writer) (code int, err error)
	// Streams are where a case's output is shown; see [Screen]. Close is called
	// at its end.
	Streams func(c Case) (stdout, stderr io.WriteCloser)
}

// Run runs all cases and returns a result of each, in their order. When ctx is
// done, what runs is stopped and the rest is not started.
func Run(ctx context.Context, p Plan) []Result {
	results := make([]Result, len(p.Cases))
	next := make(chan int)
	inner, quit := context.WithCancel(ctx)
	defer quit()
	var wg sync.WaitGroup
	for range max(1, min(p.Jobs, len(p.Cases))) {
		wg.Go(func() {
			for i := range next {
				results[i] = p.one(ctx, inner, p.Cases[i])
				if p.FailFast && results[i].Result != Passed {
					quit()
				}
			}
		})
	}
	for i := range p.Cases {
		next <- i
	}
	close(next)
	wg.Wait()
	return results
}

// one runs a case. outer is done when we are told to end, inner also when
// another case has failed.
func (p Plan) one(outer, inner context.Context, c Case) Result {
	r := Result{Case: c, ExitCode: -1}
	switch {
	case c.Wrong != "":
		r.Result, r.Why = Broken, c.Wrong
		return r
	case outer.Err() != nil:
		r.Result, r.Why = Cancelled, "told to end before it was started"
		return r
	case inner.Err() != nil:
		r.Result, r.Why = NotRun, "another platform has failed before"
		return r
	}
	ctx, cancel := context.WithCancel(inner)
	if p.Timeout > 0 {
		ctx, cancel = context.WithTimeout(inner, p.Timeout)
	}
	defer cancel()
	stdout, stderr := p.Streams(c)
	var out, errs tail
	r.Started = time.Now()
	code, err := p.Start(ctx, c, io.MultiWriter(stdout, &out), io.MultiWriter(stderr, &errs))
	r.Seconds = time.Since(r.Started).Seconds()
	stdout.Close()
	stderr.Close()
	r.Stdout, r.Stderr = out.String(), errs.String()
	r.judge(outer, inner, ctx, code, err)
	return r
}

// judge says what an end means; ctx is the case's own.
func (r *Result) judge(outer, inner, ctx context.Context, code int, err error) {
	if err == nil {
		r.ExitCode = code
	}
	switch {
	case err == nil && code == 0:
		r.Result = Passed
	case outer.Err() != nil:
		r.Result, r.Why = Cancelled, "told to end while it ran"
	case inner.Err() != nil:
		r.Result, r.Why = Cancelled, "stopped: another platform has failed"
	case ctx.Err() != nil:
		r.Result, r.Why = TimedOut, "stopped at its time limit"
	case err != nil:
		r.Result, r.Why = Broken, err.Error()
	case code == 125:
		r.Result, r.Why = Broken, "it could not be started"
	default:
		r.Result, r.Why = Failed, "exit code "+strconv.Itoa(code)
	}
}

// Code is the exit code for results: 0 if all have passed, 125 if one could not
// be started, else 1.
func Code(results []Result) int {
	code := 0
	for _, r := range results {
		switch {
		case r.Result == Broken:
			return 125
		case r.Result != Passed:
			code = 1
		}
	}
	return code
}
