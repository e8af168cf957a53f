package main

import (
	"slices"
	"strings"
	"testing"

	"coracle/cmd/coracle/command"
)

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

// TestTableCannotLie: a flag of Docker's that is lacking without a reason, or is
// of another shape, is found.
func TestTableCannotLie(t *testing.T) {
	globals, commands := command.Docs()
	if _, err := flagTable(globals, commands); err != nil {
		t.Fatal(err)
	}
	for i := range commands {
		if commands[i].Spellings[0] != "run" {
			continue
		}
		flags := commands[i].Flags
		commands[i].Flags = slices.DeleteFunc(slices.Clone(flags), func(f command.FlagDoc) bool { return f.Name == "env" })
		if _, err := flagTable(globals, commands); err == nil || !strings.Contains(err.Error(), "docker run --env: ") {
			t.Errorf("a missing flag: %v", err)
		}
		commands[i].Flags = slices.Clone(flags)
		for j := range commands[i].Flags {
			if commands[i].Flags[j].Name == "tty" {
				commands[i].Flags[j].Short = "T"
			}
		}
		if _, err := flagTable(globals, commands); err == nil || !strings.Contains(err.Error(), "--tty") {
			t.Errorf("another shorthand: %v", err)
		}
		commands[i].Flags = flags
	}
}

// TestDockerData: the data file is what the client here says, where there is one.
func TestDockerData(t *testing.T) {
	source, flags, err := dockerData(dockerTSV)
	if err != nil || len(flags) < 1000 || !strings.HasPrefix(source, "Docker version 28.") {
		t.Fatal(source, len(flags), err)
	}
}
