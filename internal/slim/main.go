// Command slim writes a go build -overlay of the standard library that makes the
// program smaller and its start shorter. It changes four files of it (see
// withoutMethods, compiledLate, tablesLate and encodersLate); a program built without it behaves the
// same.
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

// edits are the files that are changed, below GOROOT/src, and how.
var edits = []struct {
	file   string
	change func(text string) (string, error)
}{
	{"text/template/exec.go", withoutMethods},
	{"regexp/regexp.go", compiledLate},
	{"hash/crc32/crc32.go", tablesLate},
	{"encoding/json/encode.go", encodersLate},
}

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

// write puts the changed sources and overlay.json, which names them, into dir. A
// file that has its content already is left alone.
func write(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	replace := map[string]string{}
	for _, e := range edits {
		source := filepath.Join(strings.TrimSpace(string(root)), "src", filepath.FromSlash(e.file))
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		changed, err := e.change(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w: this release of Go needs another change", source, err)
		}
		// No .go: not a package of the tree.
		target := filepath.Join(dir, strings.TrimSuffix(filepath.Base(e.file), ".go")+".overlay")
		if err := put(target, changed); err != nil {
			return err
		}
		replace[source] = target
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	return errors.Join(err, put(filepath.Join(dir, "overlay.json"), string(list)+"\n"))
}

// swap replaces what must be in text exactly once.
func swap(text, old, by string) (string, error) {
	if n := strings.Count(text, old); n != 1 {
		return "", fmt.Errorf("%q is there %d times, not once", old, n)
	}
	return strings.Replace(text, old, by, 1), nil
}

func put(name, text string) error {
	if have, err := os.ReadFile(name); err == nil && string(have) == text {
		return nil
	}
	return os.WriteFile(name, []byte(text), 0o644)
}
