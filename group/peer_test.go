package group_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"coracle/group/load"
	"coracle/group/model"
)

// files is where the Compose files of the kind that people have are.
const files = "../internal/e2e/testdata/compose"

func plugin(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../build/compose/docker-compose")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Skip("needs docker compose to compare with: internal/needs/install.sh gets it")
	}
	return path
}

// TestReadAsDockerCompose: each file means the same to docker compose, attribute
// for attribute, and has the same hashes, so that neither tool makes the other's
// containers anew.
func TestReadAsDockerCompose(t *testing.T) {
	peer := plugin(t)
	dirs, err := os.ReadDir(files)
	if err != nil || len(dirs) < 25 {
		t.Fatalf("%d files, %v", len(dirs), err)
	}
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) {
			dir, err := filepath.Abs(filepath.Join(files, d.Name()))
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			p, err := load.Load(context.Background(), load.Options{})
			if err != nil {
				t.Fatal(err)
			}
			printed, err := p.WithServicesLabelsResolved(true)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := printed.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := json.Unmarshal(ours, &a); err != nil {
				t.Fatal(err)
			}
			theirs := output(t, peer, "config", "--format", "json")
			if err := json.Unmarshal(bytes.ReplaceAll(theirs, []byte("$$"), []byte("$")), &b); err != nil {
				t.Fatal(err)
			}
			for _, line := range differ("", a, b) {
				t.Error(line)
			}
			switch d.Name() {
			case "envfile", "include", "stack":
				// With files of variables docker compose prints another hash than it
				// labels containers with; the labels are compared in internal/e2e.
				return
			}
			var hashes []string
			for name, s := range p.Services {
				h, err := model.Hash(&s)
				if err != nil {
					t.Fatal(err)
				}
				hashes = append(hashes, name+" "+h)
			}
			slices.Sort(hashes)
			if want := strings.TrimSpace(string(output(t, peer, "config", "--hash", "*"))); strings.Join(hashes, "\n") != want {
				t.Errorf("hashes\n%s\ndocker compose's\n%s", strings.Join(hashes, "\n"), want)
			}
		})
	}
}

func output(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("docker compose %q: %v", args, err)
	}
	return out
}

// differ lists where two documents differ.
func differ(at string, a, b any) (lines []string) {
	x, ok := a.(map[string]any)
	y, both := b.(map[string]any)
	if !ok || !both {
		if !reflect.DeepEqual(a, b) {
			lines = append(lines, fmt.Sprintf("%s: ours %v, docker compose's %v", at, a, b))
		}
		return lines
	}
	for k, v := range x {
		if w, ok := y[k]; ok {
			lines = append(lines, differ(at+"."+k, v, w)...)
		} else {
			lines = append(lines, fmt.Sprintf("%s.%s: only ours: %v", at, k, v))
		}
	}
	for k, w := range y {
		if _, ok := x[k]; !ok {
			lines = append(lines, fmt.Sprintf("%s.%s: only docker compose's: %v", at, k, w))
		}
	}
	return lines
}
