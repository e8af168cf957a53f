// Package backendstest lets tests ask for rungs.
package backendstest

import (
	"errors"
	"testing"

	"coracle/backends"
	"coracle/probe/probetest"
)

// Need skips the test where rungs ("isolation=userns,rootfs=copy") cannot be had
// with state below dir, by the name of the missing feature; see [probetest.Need].
func Need(t testing.TB, rungs, dir string) {
	t.Helper()
	wish, err := backends.ParseWish(rungs)
	if err != nil {
		t.Fatal(err)
	}
	r := probetest.Report(t, dir)
	_, err = backends.Select(r, wish)
	var refused *backends.WishError
	switch {
	case errors.As(err, &refused) && refused.Feature != "":
		probetest.Missing(t, r.Get(refused.Feature))
	case err != nil:
		t.Fatal(err)
	}
}
