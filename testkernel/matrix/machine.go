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
	"strings"
	"sync"
	"time"

	"coracle/probe/probetest"
	"coracle/testkernel/findings"
	"coracle/testkernel/kernels"
	"coracle/testkernel/vm"
)

// matrix runs kernels.
type matrix struct {
	out            io.Writer
	fresh, verbose bool
	only           string           // words in the paths of packages, joined by commas
	limit          time.Duration    // of one machine
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
	Spent    time.Duration // of processors
	Cached   bool
}

// memory is a machine's, in MiB.
const memory = 1536

// all runs jobs kernels at a time. What machines are made of is made before.
func (m *matrix) all(ctx context.Context, list []kernels.Kernel, jobs int) ([]result, error) {
	got := make([]*kernels.Fetched, len(list))
	for i, k := range list {
		var err error
		if got[i], err = kernels.Get(k, m.out); err != nil {
			return nil, err
		}
		if _, err = m.tree(k.GOARCH()); err != nil {
			return nil, err
		}
	}
	results := make([]result, len(list))
	var mu sync.Mutex // of what is printed
	var wg sync.WaitGroup
	free := make(chan struct{}, max(1, jobs))
	for i, k := range list {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			results[i] = m.kernel(ctx, k, got[i])
			mu.Lock()
			defer mu.Unlock()
			m.say(results[i])
		})
	}
	wg.Wait()
	return results, ctx.Err()
}

// tree makes the tree for an architecture, once.
func (m *matrix) tree(arch string) (*tree, error) {
	if m.trees[arch] == nil {
		t, err := newTree(arch, m.only, m.limit/3)
		if err != nil {
			return nil, err
		}
		m.trees[arch] = t
	}
	return m.trees[arch], nil
}

// kernel boots k and runs the suite in it.
func (m *matrix) kernel(ctx context.Context, k kernels.Kernel, got *kernels.Fetched) result {
	r := result{Kernel: k}
	fail := func(err error) result {
		r.Problems = append(r.Problems, err.Error())
		return r
	}
	t := m.trees[k.GOARCH()]
	words := []string{"TESTKERNEL=vm", "TESTKERNEL_NAME=" + k.Name, "TMPDIR=/tmp", "HOME=/root", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	known, err := findings.Known(k.Name)
	if err != nil {
		return fail(err)
	}
	words = append(words, probetest.KnownEnv+"="+known)
	key, err := keyOf(t.dir, append([]string{got.Image}, got.Modules...), words)
	if err != nil {
		return fail(err)
	}
	kept := filepath.Join(kernels.CacheDir(), "passed-"+k.Name+".json")
	if old, ok := passed(kept, key); ok && !m.fresh {
		return old
	}
	r.Version = got.Version
	has, err := vm.Memory(k.Machine, k.GOARCH(), memory)
	if err != nil {
		return fail(err)
	}
	// The root file system holds half of the memory that the archive leaves, of which
	// the board takes some too: 123 MB did not fit a Raspberry Pi's 512.
	parts, err := t.parts(int64(has) << 20 / 8)
	if err != nil {
		return fail(err)
	}
	began := time.Now()
	read := newReader()
	var console bytes.Buffer
	for _, part := range parts {
		var spent time.Duration
		err = errors.Join(err, m.boot(ctx, part, vm.Config{
			Image: got.Image, Arch: k.GOARCH(), Machine: k.Machine, DTB: got.DTB, Modules: got.Modules, Cgroups: k.Cgroups,
			Memory: memory, Env: words, Stdout: read, Stderr: &console, Spent: &spent,
		}))
		r.Spent += spent
		if part != t {
			part.remove()
		}
	}
	r.Seconds = time.Since(began).Seconds()
	r.Rungs, r.Outcomes = read.rungs, read.outcomes
	r.judge(err, console.String())
	if len(r.Problems) == 0 {
		keep(kept, key, r)
	}
	return r
}

// boot runs the plan of t in one machine.
func (m *matrix) boot(ctx context.Context, t *tree, c vm.Config) error {
	c.InitrdDir, c.Timeout, c.Init = t.dir, m.limit, t.wrapper()
	c.Args = []string{filepath.Join(t.top(), "inside"), "/" + below + "/plan.json"}
	if m.verbose {
		c.Stdout = io.MultiWriter(c.Stdout, m.out)
	}
	_, err := vm.Run(ctx, c)
	return err
}

// judge collects what is not as it must be.
func (r *result) judge(err error, stderr string) {
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		var failed *vm.Failed // the first, of several machines
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
func keyOf(dir string, files, words []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, words, memory)
	add := func(name string) error {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", strings.TrimPrefix(name, dir), len(data))
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
