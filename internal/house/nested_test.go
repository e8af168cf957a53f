package house

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNested runs the tests of those modules that stand in for others: ./... does
// not go into them.
func TestNested(t *testing.T) {
	mods, err := filepath.Glob(filepath.Join(root(t), "internal/quiet/*/go.mod"))
	if err != nil || len(mods) == 0 {
		t.Fatalf("no module in internal/quiet: %v", err)
	}
	for _, mod := range mods {
		cmd := exec.Command("go", "list", "-m", "-f", "{{.Path}}")
		cmd.Dir = filepath.Dir(mod)
		path, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		name := string(path[:len(path)-1])
		tests, err := filepath.Glob(filepath.Join(filepath.Dir(mod), "*_test.go"))
		if err != nil || len(tests) == 0 {
			t.Errorf("%s has no tests", name)
		}
		// By its name, from here: in its place, as the binary has it.
		test := exec.Command("go", "test", "-count=1", name)
		test.Dir = root(t)
		if out, err := test.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
