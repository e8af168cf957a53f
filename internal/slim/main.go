// Command slim writes a go build -overlay that lets the linker drop methods
// which nothing calls.
//
// text/template finds methods by name while the program runs
// (reflect.Value.MethodByName). Where that is reachable, the linker must keep
// every exported method of every type that may meet an interface: 4.1 MB of
// 26.9 in our case. The overlay replaces that one call: a template calls the
// methods that a value itself offers by TemplateMethod, and no others. A binary
// built without it behaves the same and is larger.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// call is what is replaced in text/template; it must be there exactly once.
const call = "ptr.MethodByName(fieldName)"

// lookup is what stands for it.
const lookup = `

// templateMethod is the method of v that a template may call by name.
func templateMethod(v reflect.Value, name string) reflect.Value {
	if !v.CanInterface() || v.Kind() == reflect.Pointer && v.IsNil() {
		return reflect.Value{}
	}
	t, ok := v.Interface().(interface{ TemplateMethod(name string) any })
	if !ok {
		return reflect.Value{}
	}
	return reflect.ValueOf(t.TemplateMethod(name))
}
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: slim DIR (writes DIR/overlay.json)")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "slim:", err)
		os.Exit(1)
	}
}

// write puts the changed source and overlay.json, which names it, into dir. A
// file that has its content already is left alone.
func write(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "text", "template", "exec.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	target := filepath.Join(dir, "exec.overlay") // no .go: not a package of the tree
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: target}})
	if err != nil {
		return err
	}
	return errors.Join(put(target, changed), put(filepath.Join(dir, "overlay.json"), string(list)+"\n"))
}

func change(text string) (string, error) {
	if n := strings.Count(text, "MethodByName("); n != 1 || !strings.Contains(text, call) {
		return "", fmt.Errorf("%d calls of MethodByName, want one, %s: this release of Go needs another change", n, call)
	}
	return strings.Replace(text, call, "templateMethod(ptr, fieldName)", 1) + lookup, nil
}

func put(name, text string) error {
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return nil
	}
	return os.WriteFile(name, []byte(text), 0o644)
}
