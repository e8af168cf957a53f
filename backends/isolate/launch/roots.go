package launch

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"coracle/backends/isolate"
	"coracle/backends/isolate/agent"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// OwnPID tells whether the spec gives the container a PID namespace that dies
// with its first process.
func OwnPID(s *specs.Spec) bool {
	if s == nil || s.Linux == nil {
		return false
	}
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}

func rootFile(runDir string) string { return filepath.Join(runDir, "root.json") }

// Remember writes down pid's root, for a Sweep that comes when pid is gone and
// others of the container are not.
func Remember(runDir string, pid int) error {
	key, err := RootOf(pid)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has ended already
		}
		return err
	}
	data, err := json.Marshal(key)
	if err != nil {
		return err
	}
	return os.WriteFile(rootFile(runDir), data, 0o600)
}

// Processes lists those of a container: by its PID namespace where it has its
// own, else by its root.
func Processes(t isolate.Target) ([]int, error) {
	if OwnPID(t.Spec) {
		if !Alive(t) {
			return nil, nil
		}
		return SamePIDNamespace(t.PID)
	}
	var key RootKey
	data, err := os.ReadFile(rootFile(t.RunDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &key); err != nil || key.Ino == 0 {
		return nil, err
	}
	return WithRoot(key)
}

// Kill kills all processes of a container and waits until they are gone.
func Kill(t isolate.Target) error {
	if t.Agent {
		agent.Forget(t.RunDir)
	}
	if err := KillFirst(t); err != nil || OwnPID(t.Spec) {
		return err
	}
	if err := KillAll(func() ([]int, error) { return Processes(t) }); err != nil {
		return err
	}
	err := os.Remove(rootFile(t.RunDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// StartRemembered is Start, and remembers the root of a container that shares
// the PID namespace of others.
func StartRemembered(start func() (isolate.Process, error), b *isolate.Bundle) (isolate.Process, error) {
	proc, err := start()
	if err != nil || OwnPID(b.Spec) {
		return proc, err
	}
	if err := Remember(b.RunDir, proc.PID()); err != nil {
		proc.Signal(9)
		proc.Wait()
		return nil, err
	}
	return proc, nil
}
