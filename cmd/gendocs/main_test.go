package main

import "testing"

// TestUpToDate fails when a command changed and its documentation did not.
func TestUpToDate(t *testing.T) {
	if err := generate("../..", true); err != nil {
		t.Error(err)
	}
}

// TestDifferenceIsFound makes sure that the check can fail.
func TestDifferenceIsFound(t *testing.T) {
	dir := t.TempDir()
	if err := generate(dir, true); err == nil {
		t.Error("an empty directory passes")
	}
	if err := generate(dir, false); err != nil {
		t.Fatal(err)
	}
	if err := generate(dir, true); err != nil {
		t.Errorf("what was just written differs: %v", err)
	}
}
