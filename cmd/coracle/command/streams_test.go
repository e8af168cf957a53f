package command

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func mode(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *tio
}

// TestTerminalIsRestored: raw while a container has it, and as it was after.
func TestTerminalIsRestored(t *testing.T) {
	_, slave := terminal(t)
	pty.Setsize(slave, &pty.Winsize{Rows: 12, Cols: 34})
	tl := &tool{Stdio: Stdio{In: slave, Out: slave, Err: io.Discard}}
	if err := tl.checkTerminal(true, true); err != nil {
		t.Error(err)
	}
	was := mode(t, slave)
	s, restore, err := tl.streams(attachment{stdin: true, stdout: true, terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	if raw := mode(t, slave); raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Errorf("not raw: %#o", raw.Lflag)
	}
	if rows, cols := s.Size(); !s.Terminal || rows != 12 || cols != 34 {
		t.Errorf("terminal %v, %d rows, %d columns", s.Terminal, rows, cols)
	}
	restore()
	restore()
	if now := mode(t, slave); now != was {
		t.Errorf("the terminal's mode was %+v, is %+v", was, now)
	}
}

// TestPlainInputIsLeftAlone: no terminal is touched where the container has
// none, or our input is none.
func TestPlainInputIsLeftAlone(t *testing.T) {
	_, slave := terminal(t)
	was := mode(t, slave)
	tl := &tool{Stdio: Stdio{In: slave, Out: io.Discard}}
	s, restore, err := tl.streams(attachment{stdin: true, stdout: true})
	if err != nil || s.Terminal || s.Size != nil || mode(t, slave) != was {
		t.Errorf("%+v %v", s, err)
	}
	restore()
	r, w, _ := os.Pipe()
	defer r.Close()
	defer w.Close()
	tl = &tool{Stdio: Stdio{In: r, Out: &bytes.Buffer{}}}
	if err := tl.checkTerminal(true, true); err == nil || err.Error() != "the input device is not a TTY" || exitCode(nil, err) != 1 {
		t.Errorf("%v", err)
	}
}

func TestSignalsAreForwarded(t *testing.T) {
	out, stop := forward(proxied(true), false, nil)
	defer stop()
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM, 40} {
		if !slices.Contains(often, os.Signal(sig)) {
			time.Sleep(10 * settleIn)
		}
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-out:
			if got != sig {
				t.Errorf("sent %d, got %v", sig, got)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("signal %d does not arrive", sig)
		}
	}
	for _, sig := range proxied(true) {
		switch sig {
		case syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH:
			t.Errorf("%v is passed on", sig)
		}
	}
	if out, stop := forward(nil, false, nil); out != nil {
		t.Error("signals are caught that are not passed on")
		stop()
	}
}

// TestIgnoredStaysIgnored: under nohup a hangup is neither ours nor the
// container's.
func TestIgnoredStaysIgnored(t *testing.T) {
	if os.Getenv("CORACLE_TEST_NOHUP") != "" {
		for _, sig := range proxied(true) {
			if sig == syscall.SIGHUP {
				t.Error("SIGHUP is passed on under nohup")
			}
		}
		return
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$0" -test.run=TestIgnoredStaysIgnored -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "CORACLE_TEST_NOHUP=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
