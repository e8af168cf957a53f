package emulate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// verdict is what came of running a program of another architecture.
type verdict int

const (
	fails verdict = iota
	runs          // but argv[0] is not what the caller gave
	keeps         // and argv[0] is
)

// patience bounds a trial: an emulator that hangs is one that does not work.
const patience = 10 * time.Second

// trial runs a's smallest program from a file in dir. With alone it has nothing
// else than itself in its root, as a container has no emulator.
func trial(a Arch, dir string, alone bool) (verdict, error) {
	if _, err := os.Stat(dir); err != nil {
		dir = "" // the state directory is not made by who only looks
	}
	place, err := os.MkdirTemp(dir, "trial-")
	if err != nil {
		return fails, err
	}
	defer os.RemoveAll(place)
	file := filepath.Join(place, "program")
	if err := os.WriteFile(file, a.program(), 0o755); err != nil {
		return fails, err
	}
	// A process that another goroutine forks may hold the file open for writing
	// until it executes.
	for range 20 {
		v, err := judge(file, place, alone)
		if !errors.Is(err, syscall.ETXTBSY) {
			return v, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fails, syscall.ETXTBSY
}

func judge(file, place string, alone bool) (verdict, error) {
	cmd := exec.Command(file)
	cmd.Args = []string{"\x01"}
	cmd.Env = []string{}
	if alone {
		cmd.Path, cmd.Dir = "/program", "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: place}
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return fails, errno
		}
		return fails, err
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	err := cmd.Wait()
	// The program adds how many arguments it got to the first byte of the first:
	// 1 as we gave it, or a slash, the path's.
	switch code := cmd.ProcessState.ExitCode(); code {
	case 1 + 1:
		return keeps, nil
	case '/' + 1:
		return runs, nil
	case '/' + 2:
		return fails, errors.New("the emulator does not know of the handler's flag P")
	default:
		if why := strings.TrimSpace(said.String()); why != "" {
			err = fmt.Errorf("%v: %.200q", err, why)
		}
		return fails, err
	}
}
