// Package compile builds the product for a target, from a copy of the tree.
package compile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"coracle/crossbuild/target"
)

// Tree is a copy of the sources and the cache that is used with it.
type Tree struct {
	Dir     string
	Cache   string // GOCACHE; "" for the user's
	Tags    string
	LDFlags string
}

// Copy copies what git knows of the tree at from, changes and new files
// included, to the directory to. Ignored files do not take part in a release.
func Copy(ctx context.Context, from, to string) error {
	out, err := output(ctx, from, nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		// A file that was deleted and is still in the index, or a link.
		fi, err := os.Lstat(filepath.Join(from, name))
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name), fi.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}

// Build writes the stripped binary to the file out. Neither the place of the
// tree nor its version control gets into it: what identifies the version is in
// LDFlags.
func (t Tree) Build(ctx context.Context, tg target.Target, out string) error {
	return t.run(ctx, tg.Environ(), out)
}

// BuildHost is Build for the machine that we are on, to be run here.
func (t Tree) BuildHost(ctx context.Context, out string) error {
	return t.run(ctx, []string{"CGO_ENABLED=0"}, out)
}

func (t Tree) run(ctx context.Context, env []string, out string) error {
	// A user's flags, experiments and toolchain switch must not change the bytes.
	env = append(env, "GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOTOOLCHAIN=local", "GOWORK=off", "GOFIPS140=off")
	if t.Cache != "" {
		env = append(env, "GOCACHE="+t.Cache)
	}
	slim := filepath.Join(t.Dir, "build", "slim")
	if _, err := output(ctx, t.Dir, append(env, "GOOS=", "GOARCH="), "go", "run", "./internal/slim", slim); err != nil {
		return err
	}
	_, err := output(ctx, t.Dir, env, "go", "build", "-trimpath", "-overlay", filepath.Join(slim, "overlay.json"), "-buildvcs=false", "-tags", t.Tags, "-ldflags", t.LDFlags, "-o", out, "./cmd/coracle")
	return err
}

func output(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	// The toolchain removes its own temporary files, if it is asked to end.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
