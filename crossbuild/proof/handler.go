package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const binfmt = "/proc/sys/fs/binfmt_misc"

// errMount says that binfmt_misc cannot be mounted in this user namespace.
var errMount = errors.New("mount binfmt_misc")

// Inside is the program in the namespaces of a proof, PID 1 of its own. args are
// the binary, a directory for its state, the emulator and its processor.
func Inside(args []string) int {
	if len(args) != 4 {
		fmt.Fprintln(os.Stderr, "crossbuild: this name is for its own use")
		return 2
	}
	if err := insideRun(args[0], args[1], args[2], args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func insideRun(binary, work, emulator, cpu string) error {
	// Nothing that is mounted here gets out.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	if err := syscall.Mount("binfmt_misc", binfmt, "binfmt_misc", 0, ""); err != nil {
		return fmt.Errorf("%w: %w", errMount, err)
	}
	name := fmt.Sprintf("coracle-proof-%s", filepath.Base(work))
	rule, err := handler(name, binary, emulator)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(binfmt, "register"), rule, 0); err != nil {
		return fmt.Errorf("register with binfmt_misc: %w", err)
	}
	defer os.WriteFile(filepath.Join(binfmt, name), []byte("-1"), 0)
	return containers(context.Background(), binary, work, []string{"--backend", "limits=rlimits"}, cpu)
}

// handler is a rule in the words of Linux' Documentation/admin-guide/binfmt-misc:
// programs whose ELF header begins as this binary's are run by the emulator. The
// flags: F, opened now, so that it is found after a chroot; O, the program is
// handed over open, since ours is executed by a descriptor that has no name; P,
// with its own name as the first argument, by which ours knows its part.
func handler(name, binary, emulator string) ([]byte, error) {
	f, err := os.Open(binary)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 20) // e_ident, e_type and e_machine
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	mask := []byte("\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	return fmt.Appendf(nil, ":%s:M::%s:%s:%s:OPF", name, escaped(head), escaped(mask), emulator), nil
}

func escaped(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}
