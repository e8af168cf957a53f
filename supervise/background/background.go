// Package background starts a program that stays in the foreground as a service
// of its own, for init scripts of systems that have nothing to do so
// (start-stop-daemon, setsid): it returns when the service is up, or with what
// it said when it failed.
package background

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Service is what to start.
type Service struct {
	Path string
	// Args are those of the program without its name. FD is the descriptor on
	// which it writes a line when it is up.
	Args    []string
	PIDFile string
	Log     string // appended to; "" for nowhere
}

// FD is the descriptor on which the program says that it is up.
const FD = 3

// FailedError is a service that ended before it was up.
type FailedError struct {
	Code int
	Said string // the last of what it wrote
}

func (e *FailedError) Error() string {
	if e.Said != "" {
		return e.Said
	}
	return fmt.Sprintf("it ended with code %d before it was up", e.Code)
}

// Start starts s and returns its process ID when it is up.
func Start(s Service) (pid int, err error) {
	log, begins, err := openLog(s.Log)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	up, tell, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer up.Close()
	cmd := &exec.Cmd{
		Path: s.Path, Args: append([]string{s.Path}, s.Args...), Dir: "/", Stdin: null, Stdout: log, Stderr: log,
		ExtraFiles:  []*os.File{tell},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return 0, err
	}
	// Whoever gives up on us gives up on it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case sig := <-signals:
				if sig == syscall.SIGHUP {
					sig = syscall.SIGTERM
				}
				cmd.Process.Signal(sig)
			case <-done:
				return
			}
		}
	}()
	if n, _ := io.ReadFull(up, make([]byte, 1)); n == 0 {
		cmd.Wait()
		return 0, &FailedError{cmd.ProcessState.ExitCode(), said(s.Log, begins)}
	}
	if err := writePID(s.PIDFile, cmd.Process.Pid); err != nil {
		// A service that nobody could stop is none.
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		return 0, err
	}
	return cmd.Process.Pid, nil
}

func openLog(name string) (f *os.File, size int64, err error) {
	if name == "" {
		f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		return f, 0, err
	}
	if f, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640); err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// said are the last lines that were written to the log since it was size long.
func said(log string, size int64) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size()-size > 4096 {
		size = st.Size() - 4096
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, size, 4096))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n")
}

func writePID(name string, pid int) error {
	if name == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".pid-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(pid) + "\n")
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
