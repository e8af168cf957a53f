package probetest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"coracle/probe"
)

func TestKnown(t *testing.T) {
	got := known("pidfd=yes,overlay=no,memfd=perhaps,=,")
	if len(got) != 2 || got[probe.PIDFD] != probe.Yes || got[probe.Overlay] != probe.No {
		t.Errorf("%v", got)
	}
	if got := known(""); len(got) != 0 {
		t.Errorf("%v of nothing", got)
	}
}

// recorder is a test that only notes how it was ended. (Ending for real is the
// only thing that cannot be looked at from inside.)
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(f string, a ...any) { r.end("failed: ", f, a...) }
func (r *recorder) Skipf(f string, a ...any)  { r.end("skipped: ", f, a...) }

func (r *recorder) end(how, f string, a ...any) {
	r.ended = how + fmt.Sprintf(f, a...)
	runtime.Goexit()
}

func TestMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: what is known is known for root")
	}
	for known, want := range map[string]string{
		"":                    "skipped: missing feature: pidfd: no such call",
		"overlay=yes":         "skipped: missing feature: pidfd: no such call",
		"pidfd=no":            "skipped: missing feature: pidfd: no such call",
		"pidfd=yes,ns.pid=no": "failed: this kernel has pidfd, and it was not found: no such call",
	} {
		t.Setenv(KnownEnv, known)
		r, done := &recorder{TB: t}, make(chan struct{})
		go func() {
			defer close(done)
			Missing(r, probe.Result{Feature: probe.PIDFD, State: probe.No, Why: "no such call"})
		}()
		<-done
		if r.ended != want {
			t.Errorf("%q: %q, want %q", known, r.ended, want)
		}
	}
}
