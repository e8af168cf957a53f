// Package house holds the rules that the whole tree keeps: in which direction
// packages may import each other, how large things may grow, and what must not
// happen at package initialisation.
package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

const module = "coracle"

// floors orders the rooms: a package may import only packages of a lower
// floor, or of its own room.
var floors = map[string]int{
	"cmd": 60, "api": 60, "crossbuild": 60, "testkernel": 60,
	"group": 50, "supervise": 50, "plugin": 45,
	"engine": 40,
	"image":  34,
	"fs":     33,
	"net":    32, "backends": 31,
	"probe":    20,
	"internal": 10,
	"docs":     5,
}

// drivers may not import each other, nor anything above their contract.
var drivers = []string{
	"backends/isolate/namespaces", "backends/isolate/userns", "backends/isolate/chroot",
	"backends/limits/cgroup1", "backends/limits/cgroup2", "backends/limits/rlimits",
	"fs/overlay", "fs/aufs", "fs/reflink", "fs/copytree",
	"net/bridge", "net/netstack", "net/hostports",
}

type pkg struct {
	ImportPath   string
	Dir          string
	Name         string
	Doc          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,Doc,GoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func room(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		from := room(p.ImportPath)
		floor, known := floors[from]
		if !known {
			t.Errorf("%s: room %q is not on the list of rooms", p.ImportPath, from)
			continue
		}
		if testOnly(p) {
			continue
		}
		for _, imp := range p.Imports {
			to := room(imp)
			if to == "" || to == from {
				continue
			}
			if floors[to] >= floor {
				t.Errorf("%s imports %s: arrows point down only", p.ImportPath, imp)
			}
		}
	}
}

// testOnly packages serve tests of several rooms and are never linked into the
// product.
func testOnly(p pkg) bool {
	last := p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:]
	return strings.HasSuffix(last, "test") || len(p.GoFiles) == 0
}

func TestDriversDoNotKnowEachOther(t *testing.T) {
	is := map[string]bool{}
	for _, d := range drivers {
		is[module+"/"+d] = true
	}
	for _, p := range packages(t) {
		if !is[p.ImportPath] {
			continue
		}
		for _, imp := range p.Imports {
			if is[imp] || room(imp) == "engine" || room(imp) == "cmd" {
				t.Errorf("driver %s imports %s", p.ImportPath, imp)
			}
		}
	}
}

func TestPackagesAreDocumentedAndNamed(t *testing.T) {
	banned := map[string]bool{"util": true, "utils": true, "common": true, "helpers": true, "helper": true, "misc": true, "types": true, "base": true, "shared": true}
	for _, p := range packages(t) {
		if banned[p.Name] {
			t.Errorf("%s: a package is named after what it is for, not %q", p.ImportPath, p.Name)
		}
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
		var ours int
		for _, imp := range p.Imports {
			if room(imp) != "" {
				ours++
			}
		}
		if ours > 20 {
			t.Errorf("%s imports %d packages of ours; 20 is the budget", p.ImportPath, ours)
		}
	}
}

// source is one parsed file that is part of the product.
type source struct {
	path  string
	lines int
	file  *ast.File
	fset  *token.FileSet
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && path != top)) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "z") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, data, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		all = append(all, source{rel, bytes.Count(data, []byte("\n")), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func p90(n []int) int {
	sort.Ints(n)
	return n[len(n)*9/10]
}

func TestBudgets(t *testing.T) {
	var files, funcs []int
	methods := map[string]int{}
	for _, s := range sources(t) {
		files = append(files, s.lines)
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			funcs = append(funcs, s.fset.Position(fn.End()).Line-s.fset.Position(fn.Pos()).Line+1)
			if fn.Recv == nil {
				if fn.Name.Name == "init" {
					t.Errorf("%s: init(): every start of the binary would pay for it", s.path)
				}
				continue
			}
			methods[filepath.Dir(s.path)+"."+receiver(fn.Recv.List[0].Type)]++
		}
	}
	if n := p90(files); n > 350 {
		t.Errorf("a tenth of all files is longer than %d lines; the budget is 350", n)
	}
	if n := p90(funcs); n > 40 {
		t.Errorf("a tenth of all functions is longer than %d lines; the budget is 40", n)
	}
	for name, n := range methods {
		if n > 30 {
			t.Errorf("%s has %d methods; the budget is 30", name, n)
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return fmt.Sprintf("%T", e)
}

// TestSkipsNameWhatIsMissing refuses a skip that gives no reason: a skipped
// test is a gap, and the gap has a name.
func TestSkipsNameWhatIsMissing(t *testing.T) {
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(data), "\n") {
			if strings.Contains(line, ".SkipNow()") || strings.Contains(line, ".Skip()") {
				if !strings.Contains(line, "strings.Contains") {
					rel, _ := filepath.Rel(top, path)
					t.Errorf("%s:%d: a skip names the missing feature", rel, i+1)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
