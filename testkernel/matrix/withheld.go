package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"coracle/testkernel/kernels"
)

// withheld runs the suite on this machine's own kernel, as if it were one of
// version.
func (m *matrix) withheld(ctx context.Context, version string) result {
	r := result{
		Kernel:  kernels.Kernel{Name: "nosys " + version, Arch: runtime.GOARCH, What: "this machine's, without what came after " + version},
		Version: "this machine's",
	}
	fail := func(err error) result {
		r.Problems = append(r.Problems, err.Error())
		return r
	}
	t, err := m.tree(runtime.GOARCH)
	if err != nil {
		return fail(err)
	}
	// Other users must reach it, wherever the cache is.
	tmp, err := os.MkdirTemp("", "coracle-matrix-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o1777); err != nil {
		return fail(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.wrapper(), "-nosys", version, filepath.Join(t.top(), "inside"), filepath.Join(t.top(), "plan.json"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.WaitDelay = 5 * time.Second
	read := newReader()
	var msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = read, &msg
	err = cmd.Run()
	if p := cmd.ProcessState; p != nil {
		r.Spent = p.UserTime() + p.SystemTime()
	}
	if ctx.Err() != nil {
		err = errors.New("no end within " + m.limit.String())
	}
	r.Seconds = time.Since(began).Seconds()
	r.Rungs, r.Outcomes = read.rungs, read.outcomes
	r.judge(err, msg.String())
	return r
}
