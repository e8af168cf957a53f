// Command inside runs the steps of a plan one after the other, in a machine or
// under a filter, and writes what they say with a line of its own before and
// after each. It is matrix's other half.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"coracle/testkernel/matrix/plan"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: inside PLAN")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var p plan.Plan
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	top, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return err
	}
	for _, s := range p.Steps {
		plan.WriteMark(os.Stdout, plan.Mark{Step: s.Name})
		began := time.Now()
		code, err := step(top, s)
		m := plan.Mark{Step: s.Name, Ended: true, Code: code, Seconds: time.Since(began).Seconds()}
		if err != nil {
			m.Error = err.Error()
		}
		plan.WriteMark(os.Stdout, m)
	}
	return nil
}

// step runs one program to its end, or kills it when its time is up.
func step(top string, s plan.Step) (int, error) {
	limit := time.Duration(s.Seconds) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(top, s.Program), s.Args...)
	cmd.Dir = filepath.Join(top, s.Dir)
	cmd.Env = append(os.Environ(), "PATH="+top+"/bin:"+os.Getenv("PATH"), "CORACLE="+top+"/coracle")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return -1, fmt.Errorf("killed after %v", limit)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
