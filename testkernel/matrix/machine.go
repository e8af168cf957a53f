package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"coracle/testkernel/kernels"
	"coracle/testkernel/vm"
)

// matrix runs kernels.
type matrix struct {
	out            io.Writer
	fresh, verbose bool
	trees          map[string]*tree // by architecture
}

// result is what came of one kernel.
type result struct {
	Kernel   kernels.Kernel
	Version  string
	Rungs    map[string]string
	Outcomes []outcome
	Problems []string
	Seconds  float64
	Cached   bool
}

// limit is what one machine may take, and memory its MiB.
const (
	limit  = 15 * time.Minute
	memory = 1536
)

// kernel boots k and runs the suite in it.
func (m *matrix) kernel(ctx context.Context, k kernels.Kernel) result {
	r := result{Kernel: k}
	fail := func(err error) result {
		r.Problems = append(r.Problems, err.Error())
		return r
	}
	t, err := m.tree(k.GOARCH())
	if err != nil {
		return fail(err)
	}
	got, err := kernels.Get(k, m.out)
	if err != nil {
		return fail(err)
	}
	if err := t.write(k.Name, "plan.json"); err != nil {
		return fail(err)
	}
	key, err := keyOf(t.dir, append([]string{got.Image}, got.Modules...))
	if err != nil {
		return fail(err)
	}
	kept := filepath.Join(kernels.CacheDir(), "passed-"+k.Name+".json")
	if old, ok := passed(kept, key); ok && !m.fresh {
		return old
	}
	began := time.Now()
	read := newReader()
	var console bytes.Buffer
	var raw io.Writer = read
	if m.verbose {
		raw = io.MultiWriter(read, m.out)
	}
	_, err = vm.Run(ctx, vm.Config{
		Image: got.Image, Arch: k.GOARCH(), Machine: k.Machine, DTB: got.DTB, Modules: got.Modules, Cgroups: k.Cgroups,
		InitrdDir: t.dir, Memory: memory, Timeout: limit, Init: t.wrapper(),
		Args:   []string{filepath.Join(t.top(), "inside"), "/" + below + "/plan.json"},
		Env:    []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/root", "TMPDIR=/tmp", "TESTKERNEL=vm"},
		Stdout: raw, Stderr: &console,
	})
	r.Seconds = time.Since(began).Seconds()
	r.Version, r.Rungs, r.Outcomes = got.Version, read.rungs, read.outcomes
	r.judge(err, console.String())
	if len(r.Problems) == 0 {
		keep(kept, key, r)
	}
	return r
}

func (m *matrix) tree(arch string) (*tree, error) {
	if t := m.trees[arch]; t != nil {
		return t, nil
	}
	t, err := newTree(arch)
	if err != nil {
		return nil, err
	}
	m.trees[arch] = t
	return t, nil
}

// judge collects what is not as it must be.
func (r *result) judge(err error, stderr string) {
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		var failed *vm.Failed
		if errors.As(err, &failed) {
			for _, line := range failed.Last {
				r.Problems = append(r.Problems, "| "+line)
			}
		}
	}
	if stderr != "" {
		r.Problems = append(r.Problems, stderr)
	}
	if len(r.Outcomes) == 0 {
		r.Problems = append(r.Problems, "no test has run")
	}
	var skips []skip
	for _, o := range r.Outcomes {
		skips = append(skips, o.Skipped...)
		switch {
		case !o.Ended:
			r.Problems = append(r.Problems, o.Step+": not come to its end")
		case o.Error != "":
			r.Problems = append(r.Problems, o.Step+": "+o.Error)
		case !o.ok():
			r.Problems = append(r.Problems, fmt.Sprintf("%s: exit code %d, failed: %v", o.Step, o.Code, o.Failed))
		}
	}
	r.Problems = append(r.Problems, wrongSkips(r.Kernel.Name, skips)...)
}

// keyOf hashes all that a machine is made of.
func keyOf(dir string, files []string) (string, error) {
	h := sha256.New()
	add := func(name string) error {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
		return nil
	}
	for _, f := range files {
		if err := add(f); err != nil {
			return "", err
		}
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = add(p)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// kept is a result on disk: nothing that it came from has changed while its key
// is the same.
type keptResult struct {
	Key    string
	Result result
}

func passed(file, key string) (result, bool) {
	data, err := os.ReadFile(file)
	var k keptResult
	if err != nil || json.Unmarshal(data, &k) != nil || k.Key != key {
		return result{}, false
	}
	k.Result.Cached = true
	return k.Result, true
}

func keep(file, key string, r result) {
	for i := range r.Outcomes {
		r.Outcomes[i].Lines = nil
	}
	if data, err := json.Marshal(keptResult{key, r}); err == nil {
		_ = os.WriteFile(file, data, 0o644)
	}
}
