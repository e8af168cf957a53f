package compose

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"coracle/engine"
	"coracle/group"
)

// TetherName is what the second process of a tied `up` is called.
const TetherName = "coracle-tether"

// errand is what the tether is told: whose containers it kills, and how.
type errand struct {
	Run, Project string
	Kill         []string
}

// tether has a process of ours look at this one: where this one is gone without
// having let go, the group's containers are killed. The kernel closes a pipe of
// whoever is killed, so nothing can keep the end from being seen. It is in a
// session of its own: what kills a whole process group leaves it.
func (t *Tool) tether(project string, ids []string) (release func(), err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	root, run, err := engine.Places(t.Options())
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(errand{run, project, append([]string{"coracle", "--root", root, "--run", run, "kill"}, ids...)})
	if err != nil {
		return nil, err
	}
	in, tell, err := os.Pipe()
	if err != nil {
		return nil, os.NewSyscallError("pipe", err)
	}
	defer in.Close()
	cmd := &exec.Cmd{Path: exe, Args: []string{TetherName}, Dir: "/", Env: os.Environ(), Stdin: in, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := cmd.Start(); err != nil {
		tell.Close()
		return nil, err
	}
	if _, err := tell.Write(append(data, '\n')); err != nil {
		tell.Close()
		cmd.Wait()
		return nil, os.NewSyscallError("write", err)
	}
	return func() {
		tell.Write([]byte("true\n"))
		tell.Close()
		cmd.Wait()
	}, nil
}

// TetherMain is that process: it reads what to do, and does it unless it is told
// that all is well.
func TetherMain(in io.Reader) int {
	var e errand
	var well bool
	d := json.NewDecoder(in)
	if err := d.Decode(&e); err != nil || len(e.Kill) == 0 {
		return 1
	}
	if err := d.Decode(&well); well || !errors.Is(err, io.EOF) {
		return 0
	}
	// A supervisor's next command waits for this lock. One that has it already has
	// taken the containers over.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	release, err := (&group.Session{Run: e.Run}).Lock(ctx, e.Project, nil)
	if err != nil {
		return 1
	}
	defer release()
	// What was just being started is there by then.
	time.Sleep(200 * time.Millisecond)
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	cmd := &exec.Cmd{Path: exe, Args: e.Kill, Dir: "/", Env: os.Environ()}
	cmd.Run() // of some it says that they do not run
	return 0
}
