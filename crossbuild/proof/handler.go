package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"coracle/backends/emulate"
)

// errMount says that binfmt_misc cannot be mounted in this user namespace.
var errMount = errors.New("mount binfmt_misc")

// Inside is the program in the namespaces of a proof, PID 1 of its own. args are
// the binary, its architecture, a directory for its state, the emulator and its
// processor.
func Inside(args []string) int {
	if len(args) != 5 {
		fmt.Fprintln(os.Stderr, "crossbuild: this name is for its own use")
		return 2
	}
	if err := insideRun(args[0], args[1], args[2], args[3], args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func insideRun(binary, arch, work, emulator, cpu string) error {
	// Nothing that is mounted here gets out.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	if err := syscall.Mount(emulate.Source, emulate.Dir, "binfmt_misc", 0, ""); err != nil {
		return fmt.Errorf("%w: %w", errMount, err)
	}
	a, ok := emulate.Lookup(arch)
	if !ok {
		return fmt.Errorf("no emulator is known for %q", arch)
	}
	name := emulate.Prefix + filepath.Base(work)
	// O: our second stage is executed by a descriptor, which has no name that the
	// emulator could open. P: its first argument tells the binary its part. F: in
	// the container's root there is no emulator.
	rule, err := emulate.Line(name, a, emulator, "OPF")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(emulate.Dir, "register"), []byte(rule), 0); err != nil {
		return fmt.Errorf("register with binfmt_misc: %w", err)
	}
	defer os.WriteFile(filepath.Join(emulate.Dir, name), []byte("-1"), 0)
	return containers(context.Background(), binary, work, []string{"--backend", "limits=rlimits"}, cpu)
}
