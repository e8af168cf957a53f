package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/testkernel/kernels"
	"coracle/testkernel/matrix/plan"
	"coracle/testkernel/suite"
	"coracle/testkernel/vm"
)

// packages are those whose tests run on every kernel: what the kernel must have,
// and the suite.
func packages(only string) []string {
	all := append([]string{"coracle/testkernel/findings"}, suite.Packages...)
	return slices.DeleteFunc(all, func(pkg string) bool {
		return !slices.ContainsFunc(strings.Split(only, ","), func(word string) bool { return strings.Contains(pkg, word) })
	})
}

// tree is a directory with all that a machine of one architecture needs: the
// product, the tests, busybox and the program that runs them.
type tree struct {
	arch     string // Go's name
	packages []string
	seconds  int // that one package's tests may take
	dir      string
}

// below is where a tree lies in the machine.
const below = "suite"

func newTree(arch, only string, limit time.Duration) (*tree, error) {
	dir, err := os.MkdirTemp("", "coracle-matrix-"+arch+"-")
	if err != nil {
		return nil, err
	}
	t := &tree{arch: arch, packages: packages(only), seconds: int(limit.Seconds()), dir: dir}
	if err := t.fill(); err != nil {
		t.remove()
		return nil, err
	}
	return t, nil
}

func (t *tree) remove() { os.RemoveAll(t.dir) }

func (t *tree) fill() error {
	// This machine's ordinary users run what is in it, too.
	if err := os.Chmod(t.dir, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(t.top(), "bin"), 0o755); err != nil {
		return err
	}
	for _, build := range [][]string{
		{"build", "-o", filepath.Join(t.top(), "coracle"), "coracle/cmd/coracle"},
		{"build", "-o", filepath.Join(t.top(), "inside"), "coracle/testkernel/matrix/inside"},
		{"build", "-o", t.wrapper(), "coracle/testkernel"},
	} {
		if err := t.goes(build...); err != nil {
			return err
		}
	}
	for _, pkg := range t.packages {
		if err := t.test(pkg); err != nil {
			return err
		}
	}
	if err := kernels.Busybox(t.arch, filepath.Join(t.top(), "bin", "busybox"), os.Stderr); err != nil {
		return err
	}
	if err := t.write("plan.json"); err != nil {
		return err
	}
	return t.disk()
}

// parts are trees that have the packages of t between them, each of at most limit
// bytes or with the tests of one package: t itself where that is enough. The others
// are made of the files of t, and removed by the caller.
func (t *tree) parts(limit int64) (list []*tree, err error) {
	all, err := size(t.dir)
	if err != nil || all <= limit {
		return []*tree{t}, err
	}
	tests := map[string]int64{}
	common := all
	for _, pkg := range t.packages {
		// A package's directory holds others'.
		if tests[pkg], err = size(t.program(pkg)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		common -= tests[pkg]
	}
	defer func() {
		if err != nil {
			for _, p := range list {
				p.remove()
			}
		}
	}()
	var have int64
	for _, pkg := range t.packages {
		if tests[pkg] == 0 {
			continue // it has no tests
		}
		if len(list) == 0 || have+tests[pkg] > limit {
			p := &tree{arch: t.arch, seconds: t.seconds}
			if p.dir, err = os.MkdirTemp("", "coracle-matrix-"+t.arch+"-"); err != nil {
				return list, err
			}
			list, have = append(list, p), common
		}
		p := list[len(list)-1]
		p.packages = append(p.packages, pkg)
		have += tests[pkg]
	}
	for _, p := range list {
		if err = t.link(p); err != nil {
			return list, err
		}
		if err = p.write("plan.json"); err != nil {
			return list, err
		}
	}
	return list, nil
}

// link gives p the files of t, but for the plan and the tests of other packages.
func (t *tree) link(p *tree) error {
	skip := map[string]bool{filepath.Join(t.top(), "plan.json"): true}
	for _, pkg := range t.packages {
		if !slices.Contains(p.packages, pkg) {
			skip[t.program(pkg)] = true
		}
	}
	return filepath.WalkDir(t.dir, func(from string, d fs.DirEntry, err error) error {
		to := p.dir + strings.TrimPrefix(from, t.dir)
		switch {
		case err != nil || skip[from]:
			return err
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		}
		return os.Link(from, to)
	})
}

// size is what a file holds, or the files below a directory.
func size(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// disk makes the file system that the tests work on: servers have ext4, and not
// the tmpfs that a machine without a disk would give them.
func (t *tree) disk() error {
	image := filepath.Join(t.dir, "disk.img")
	defer os.Remove(image)
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, diskSize); err != nil {
		return err
	}
	// What is random in it would make another machine of each. No journal: the
	// disk does not outlive its machine.
	mkfs := exec.Command("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-U", "c0c0c0c0-0000-4000-8000-000000000000",
		"-i", "4096", "-E", "hash_seed=c0c0c0c0-0000-4000-8000-000000000000,root_owner=0:0", image)
	mkfs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "E2FSPROGS_FAKE_TIME=1")
	if out, err := mkfs.CombinedOutput(); err != nil {
		return fmt.Errorf("make the machine's disk: %w: %s", err, bytes.TrimSpace(out))
	}
	in, err := os.Open(image)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(t.dir, vm.DiskFile))
	if err != nil {
		return err
	}
	defer out.Close()
	z := gzip.NewWriter(out)
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.Close()
}

const diskSize = 512 << 20

func (t *tree) top() string { return filepath.Join(t.dir, below) }

// wrapper is testkernel built for this machine, where that is the tree's.
func (t *tree) wrapper() string { return filepath.Join(t.dir, "testkernel") }

// goes runs the go command for the tree's architecture.
func (t *tree) goes(args ...string) error {
	args = append([]string{args[0], "-trimpath", "-buildvcs=false", "-tags", "urfave_cli_no_docs", "-ldflags=-s -w"}, args[1:]...)
	cmd := exec.Command("go", args...)
	// GOARM: what runs on every ARM.
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+t.arch, "GOARM=5", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s for %s: %w\n%s", args[0], t.arch, err, bytes.TrimSpace(out))
	}
	return nil
}

// at is where a package's tests lie in the tree.
func at(pkg string) string { return path.Join("tests", pkg) }

// program is a package's tests in the tree.
func (t *tree) program(pkg string) string {
	return filepath.Join(t.top(), at(pkg), path.Base(pkg)+".test")
}

// test puts a package's tests and their data into the tree.
func (t *tree) test(pkg string) error {
	to := filepath.Join(t.top(), at(pkg))
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := t.goes("test", "-c", "-o", t.program(pkg), pkg); err != nil {
		return err
	}
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", pkg).Output()
	if err != nil {
		return fmt.Errorf("go list %s: %w", pkg, err)
	}
	data := filepath.Join(string(bytes.TrimSpace(out)), "testdata")
	if _, err := os.Stat(data); err != nil {
		return nil
	}
	return os.CopyFS(filepath.Join(to, "testdata"), os.DirFS(data))
}

// write leaves the plan in the tree.
func (t *tree) write(file string) error {
	var p plan.Plan
	for _, pkg := range t.packages {
		if _, err := os.Stat(t.program(pkg)); err != nil {
			continue // it has no tests
		}
		args := []string{"-test.v", "-test.short", fmt.Sprintf("-test.timeout=%ds", t.seconds-10)}
		if skip := elsewhere()[pkg]; skip != "" {
			args = append(args, "-test.skip="+skip)
		}
		p.Steps = append(p.Steps, plan.Step{
			Name: pkg, Program: path.Join(at(pkg), path.Base(pkg)+".test"), Dir: at(pkg), Args: args, Seconds: t.seconds,
		})
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.top(), file), data, 0o644)
}

// elsewhere names tests that take long and ask the kernel nothing of their own:
// they reckon, or try how the probe keeps what it has found. They say the same on
// every kernel, and `make test` runs them.
func elsewhere() map[string]string {
	return map[string]string{
		"coracle/probe": "^(TestCacheKey|TestBrokenCache|TestCacheOfAnotherUser|TestOnlyTheStaleIsTriedAgain|TestWithoutCache|" +
			"TestCrowd|TestStuckHolder|TestContext|TestParse|TestEveryFeatureHasOneGroupAndOneTitle)$",
		// Every kernel here has mount namespaces.
		"coracle/backends/isolate/chroot": "^(TestConformance|TestHostile)$/^no_mount_namespaces$",
		"coracle/backends/confine":        "^(TestRandomSpecsDecideAsTheySay|TestDefaultProfileDecidesAsTheSpecSays|TestKnownDecisions|TestX32IsBlockedWhereNotAsked)$",
	}
}
