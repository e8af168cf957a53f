package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"coracle/backends"

	"github.com/moby/moby/api/types/container"
)

const upgradedName = "coracle-upgraded"

// upgraded is a process whose own file is replaced, as by an upgrade, while a
// container of its runs: it can start that again, another, and enter both.
func upgraded(args []string) int {
	if err := replaceAndGoOn(args[0], args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func replaceAndGoOn(root, run, wish string) error {
	ctx := context.Background()
	w, err := backends.ParseWish(wish)
	if err != nil {
		return err
	}
	e, err := Open(ctx, Options{Root: root, Run: run, Wish: w})
	if err != nil {
		return err
	}
	create := func(args []string, rm bool) (string, error) {
		id, _, err := e.Create(ctx, CreateOptions{
			Config: &container.Config{Image: "testbox", Cmd: args, Volumes: map[string]struct{}{"/data": {}}},
			Host:   &container.HostConfig{NetworkMode: "none", AutoRemove: rm},
		})
		return id, err
	}
	first, err := create([]string{"sleep", "60"}, true)
	if err == nil {
		err = e.Start(ctx, first)
	}
	if err != nil {
		return fmt.Errorf("before: %w", err)
	}
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	// What has our name now is no program of ours.
	if err := os.WriteFile(own+".new", []byte("#!/bin/sh\nexit 44\n"), 0o755); err != nil {
		return err
	}
	if err := os.Rename(own+".new", own); err != nil {
		return err
	}
	second, err := create(sh("echo second; exec sleep 60"), false)
	if err == nil {
		err = e.Start(ctx, second)
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	for _, id := range []string{first, second} {
		var out bytes.Buffer
		code, err := e.Exec(ctx, id, container.ExecCreateRequest{Cmd: sh("echo in; exit 5")}, Streams{Stdout: &out})
		if err != nil || code != 5 || out.String() != "in\n" {
			return fmt.Errorf("exec: %q, code %d, %w", out.String(), code, err)
		}
	}
	third, err := create(sh("exit 6"), true)
	if err != nil {
		return err
	}
	if code, err := e.Run(ctx, third, Streams{}); err != nil || code != 6 {
		return fmt.Errorf("run: code %d, %w", code, err)
	}
	zero := 0
	// The first one's monitor removes it, of which it was told before.
	for _, id := range []string{first, second} {
		if err := e.Stop(ctx, id, "", &zero); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
	if err := e.Start(ctx, second); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	if err := e.Remove(ctx, second, true, true); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	list, err := e.List(ctx, ListOptions{All: true})
	if err != nil || len(list) != 0 {
		return fmt.Errorf("left: %d containers, %w", len(list), err)
	}
	return nil
}

func TestReplacedBinary(t *testing.T) {
	wishes := []string{"isolation=namespaces", "isolation=namespaces,entering=agent", "isolation=chroot,rootfs=copy"}
	if os.Geteuid() != 0 {
		wishes = []string{"isolation=userns,rootfs=copy", "isolation=userns,rootfs=copy,entering=agent"}
	}
	for _, wish := range wishes {
		t.Run(wish, func(t *testing.T) {
			h := newHarness(t, wish)
			h.run(wanted{args: sh("true"), rm: true}) // unpacks
			path := filepath.Join(t.TempDir(), "coracle")
			data, err := os.ReadFile("/proc/self/exe")
			if err == nil {
				err = os.WriteFile(path, data, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := &exec.Cmd{Path: path, Args: []string{upgradedName, h.opt.Root, h.opt.Run, wish}, Env: os.Environ()}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
