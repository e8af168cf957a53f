package format

import (
	"slices"
	"testing"
)

func TestNatural(t *testing.T) {
	// As docker 28.2 lists them.
	want := []string{"", "0", "9z", "10", "N2", "_x", "bridge", "n", "n1", "n01", "n02", "n10", "n10a", "none"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Natural)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
