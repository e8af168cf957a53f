package stage

import (
	"os"
	"runtime/debug"
	"syscall"

	"coracle/backends/confine"
	"coracle/backends/isolate"
	"coracle/backends/isolate/agent"
	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// initMain stays as the container's first process: it starts the program as its
// child, passes signals on, reaps what is orphaned, and ends with the program's
// status, 128+n for a signal.
func initMain(path string, c *Config, env []string) error {
	// The stage runs without a collector; an init stays.
	debug.SetGCPercent(100)
	sys.Rest()
	in := agent.NewInit()
	attr := &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: c.Terminal, Ctty: 0},
	}
	child, err := syscall.ForkExec(path, c.Process.Args, attr)
	if err != nil {
		return execError(path, err)
	}
	letGo()
	os.Exit(in.Tend(child))
	return nil
}

// agentMain stays as the container's first process, unconfined: it starts the
// program's own second stage, and one for each client.
func agentMain(c *Config) error {
	debug.SetGCPercent(50)
	sys.Rest()
	unix.CloseOnExec(socket + 1)
	// Our binary is found from here by a name that no mount over /proc changes.
	if err := unix.Chdir("/proc"); err != nil {
		return step("chdir /proc", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(".", &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return &isolate.StageError{Step: "start an agent", Msg: "the container has no /proc"}
	}
	if err := holdAgent(c); err != nil {
		return err
	}
	in := agent.NewInit()
	child, err := startStage([]uintptr{0, 1, 2, socket})
	if err != nil {
		return step("start the program's stage", err)
	}
	letGo()
	if err := in.Listen(socket+1, startStage); err != nil {
		return err
	}
	debug.FreeOSMemory()
	os.Exit(in.Tend(child))
	return nil
}

// startStage starts our binary again, which this process has as its own in /proc,
// its current directory.
func startStage(fds []uintptr) (pid int, err error) {
	return syscall.ForkExec("self/exe", []string{Name}, &syscall.ProcAttr{Env: os.Environ(), Files: fds})
}

// holdAgent takes from the agent what the container has not, where the container
// could get hold of the agent. It keeps what the change of user needs.
func holdAgent(c *Config) error {
	caps := c.Process.Capabilities
	if caps == nil || !agent.Exposed(caps) {
		return nil
	}
	keep := append([]string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"}, caps.Bounding...)
	kept := &specs.LinuxCapabilities{Bounding: keep, Permitted: keep, Effective: keep}
	if err := confine.DropBounding(kept); err != nil {
		return step("capability bounding set", err)
	}
	if err := confine.LoadFilter(c.Seccomp); err != nil {
		return step("seccomp filter", err)
	}
	if err := confine.SetCaps(kept); err != nil {
		return step("capabilities", err)
	}
	return step("capabilities of all threads", sys.ShareCaps())
}

// letGo leaves the streams, and the talk with the monitor, to the program: when it
// closes them, whoever reads them must see the end.
func letGo() {
	if null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			unix.Dup3(null, fd, 0)
		}
		unix.Close(null)
	}
	unix.Close(socket)
}
