package main

import (
	"fmt"
	"regexp"
	"slices"

	"coracle/probe"
	"coracle/testkernel/findings"
)

// featureName is how the probe's features are written.
var featureName = regexp.MustCompile(`[a-z0-9_]+(\.[a-z0-9_]+)*`)

// wrongSkips are those that give no reason, or name a feature which this kernel
// is known to have.
func wrongSkips(kernel string, skips []skip) []string {
	// Of this machine's own kernel nothing is known: every expectation is empty.
	want, _ := findings.For(kernel, "root")
	var out []string
	for _, s := range skips {
		if s.Why == "" {
			out = append(out, fmt.Sprintf("%s skips without a reason", s.Test))
			continue
		}
		// The first that is named; what follows tells how it was missed.
		for _, word := range featureName.FindAllString(s.Why, -1) {
			f := probe.Feature(word)
			if !slices.Contains(findings.Features(), f) {
				continue
			}
			if want[f].State == "yes" {
				out = append(out, fmt.Sprintf("%s is skipped (%s), and this kernel has %s", s.Test, s.Why, f))
			}
			break
		}
	}
	return out
}
