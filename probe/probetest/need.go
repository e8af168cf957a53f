// Package probetest lets tests ask for the kernel features that they need, and
// polices the answer: where testkernel knows that the kernel at hand has a
// feature, a probe that does not find it is a failure and no reason to skip.
//
// Tests of package probe itself cannot use it, and ask the report.
package probetest

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"coracle/probe"
)

// KnownEnv names the environment variable by which testkernel tells what the
// kernel at hand is known to have and to lack, for root: FEATURE=yes and
// FEATURE=no, separated by commas. What differs from machine to machine is not
// in it.
const KnownEnv = "TESTKERNEL_KNOWN"

// Known is what KnownEnv says; empty outside of testkernel.
func Known() map[probe.Feature]probe.State { return known(os.Getenv(KnownEnv)) }

func known(list string) map[probe.Feature]probe.State {
	out := map[probe.Feature]probe.State{}
	for word := range strings.SplitSeq(list, ",") {
		name, value, _ := strings.Cut(word, "=")
		var s probe.State
		if err := s.UnmarshalText([]byte(value)); err == nil && s != probe.Unknown {
			out[probe.Feature(name)] = s
		}
	}
	return out
}

var (
	mu sync.Mutex
	// reports are made once a process and directory.
	reports = map[string]*probe.Report{}
)

// Report is what the probe finds for the user that the test runs as, with state
// in the directory dir: filesystems differ.
func Report(t testing.TB, dir string) *probe.Report {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if r := reports[dir]; r != nil {
		return r
	}
	r, err := probe.Run(context.Background(), probe.Options{StateDir: dir})
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	reports[dir] = r
	return r
}

// Need skips the test where a feature was found not to work, by that feature's
// name, in the directory for temporary files. It fails where the kernel is known to
// have it.
func Need(t testing.TB, features ...probe.Feature) {
	t.Helper()
	r := Report(t, os.TempDir())
	for _, f := range features {
		if res := r.Get(f); res.State == probe.No {
			Missing(t, res)
		}
	}
}

// Missing ends the test for a finding of its own, as Need does.
func Missing(t testing.TB, res probe.Result) {
	t.Helper()
	if os.Geteuid() == 0 && Known()[res.Feature] == probe.Yes {
		t.Fatalf("this kernel has %s, and it was not found: %s", res.Feature, res.Why)
	}
	t.Skipf("missing feature: %s: %s", res.Feature, res.Why)
}
