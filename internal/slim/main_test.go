package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program has a method that it offers, one that it does not offer, and a field.
const program = `package main

import (
	"fmt"
	"os"
	"text/template"
)

type boat struct{ Sail string }

func (b boat) Oars() int  { return 2 }
func (b boat) Sink() bool { return true }
func (b boat) TemplateMethod(name string) any {
	if name == "Oars" {
		return b.Oars
	}
	return nil
}

func main() {
	for _, text := range []string{"{{.Sail}} {{.Oars}}\n", "{{.Sink}}"} {
		if err := template.Must(template.New("t").Parse(text)).Execute(os.Stdout, boat{"red"}); err != nil {
			fmt.Println(err)
		}
	}
}
`

func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": program, "go.mod": "module boat\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(filepath.Join(dir, "slim")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command("go", append(append([]string{"run"}, args...), ".")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go run %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := run(); got != "red 2\ntrue" {
		t.Errorf("without the overlay: %q", got)
	}
	got := run("-overlay", filepath.Join(dir, "slim", "overlay.json"))
	if !strings.HasPrefix(got, "red 2\n") || !strings.Contains(got, "can't evaluate field Sink") {
		t.Errorf("with the overlay: %q", got)
	}
}

func TestUnknownSource(t *testing.T) {
	for _, text := range []string{"package template", call + call, "other.MethodByName(fieldName)"} {
		if got, err := change(text); err == nil {
			t.Errorf("%q was changed to %q", text, got)
		}
	}
}
