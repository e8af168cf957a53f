package stage

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// initMain stays as the container's first process: it starts the program as its
// child, passes signals on, reaps what is orphaned, and ends with the program's
// status, 128+n for a signal.
func initMain(path string, c *Config, env []string) error {
	// The stage runs without a collector; an init stays.
	debug.SetGCPercent(100)
	// Without a PID namespace orphans would go to the host's init. Kernels before
	// 3.4 have no subreaper, and there they do.
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	attr := &syscall.ProcAttr{
		Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: c.Terminal, Ctty: 0},
	}
	child, err := syscall.ForkExec(path, c.Process.Args, attr)
	if err != nil {
		return execError(path, err)
	}
	// The streams are the program's now: when it closes them, whoever reads
	// them must see the end.
	if null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		for fd := range 3 {
			unix.Dup3(null, fd, 0)
		}
		unix.Close(null)
	}
	unix.Close(socket)
	for {
		// Reap before waiting: SIGCHLD may have come before Notify.
		if status, ended := reapAll(child); ended {
			os.Exit(status)
		}
		sig := (<-signals).(syscall.Signal)
		switch sig {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE:
			// The runtime's own, or none of the program's business.
		case unix.SIGTTIN, unix.SIGTTOU:
		default:
			unix.Kill(child, sig)
		}
	}
}

func reapAll(child int) (status int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return 0, true
		case err != nil || pid == 0:
			return 0, false
		case pid == child && ws.Exited():
			return ws.ExitStatus(), true
		case pid == child && ws.Signaled():
			return 128 + int(ws.Signal()), true
		}
	}
}
