package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is a command at a terminal of its own.
type screen struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	ended  chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// at starts a command at a terminal of 24 rows and 80 columns.
func (m *machine) at(args ...string) *screen {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	m.t.Cleanup(cancel)
	return show(m.t, m.command(ctx, args...))
}

func show(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	s := &screen{t: t, master: master, ended: make(chan struct{})}
	s.resize(24, 80)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.said.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				break
			}
		}
	}()
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.ended
		master.Close()
	})
	return s
}

func (s *screen) resize(rows, cols uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// types types, and waits until the screen shows what is wanted.
func (s *screen) types(keys, want string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(s.text(), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%q does not bring %q:\n%q", keys, want, s.text())
		}
	}
}

// ends waits until the command has ended with that code.
func (s *screen) ends(code int, want string) {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Fatalf("%q does not end:\n%q", s.cmd.Args, s.text())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("%q ends with %d, want %d:\n%q", s.cmd.Args, got, code, s.text())
	}
	until(s.t, want, func() bool { return strings.Contains(s.text(), want) })
}

// leave are Docker's keys to detach.
const leave = "\x10\x11"

// TestDetach: who types the keys leaves, and what he looked at goes on.
func TestDetach(t *testing.T) {
	needRoot(t)
	for _, r := range lifeRungs() {
		t.Run(r.name, func(t *testing.T) { left(newMachine(t, "", r.backend, r.uid)) })
	}
}

func left(m *machine) {
	t := m.t
	t.Helper()
	runs := func() {
		t.Helper()
		m.is("running", "inspect", "-f", "{{.State.Status}}", "one")
	}
	// The size of the terminal is that of the caller's, and follows it.
	const says = `echo starts at $(stty size); while read -r x; do echo got $x at $(stty size); [ "$x" != end ] || exit 5; done`
	s := m.at("run", "-it", "--name", "one", net, "box", "sh", "-c", says)
	s.types("", "starts at 24 80")
	s.resize(40, 132)
	until(t, "the size is the new one", func() bool {
		s.types("fish\r", "got fish")
		return strings.Contains(s.text(), "got fish at 40 132")
	})
	s.types("\x10x\r", "got \x10x") // half of the keys are keys
	s.types(leave, "")
	s.ends(0, "")
	runs()
	s = m.at("attach", "one")
	s.types("bird\r", "got bird")
	s.types(leave, "")
	s.ends(1, "read escape sequence")
	runs()
	// Other keys, once they are asked for.
	s = m.at("attach", "--detach-keys", "ctrl-x,y", "one")
	s.types(leave+"bird\r", "bird at 24 80") // ctrl-q is for the terminal: XON
	s.types("\x18y", "")
	s.ends(1, "read escape sequence")
	// A process of exec.
	s = m.at("exec", "-it", "one", "sh", "-c", `echo $(stty size) here; read -r x; echo read $x; [ "$x" = on ] || exit 7; sleep 3210`)
	s.types("", "24 80 here")
	s.types("on\r", "read on")
	s.types(leave, "")
	s.ends(1, "read escape sequence")
	if out := m.ok("top", "one"); !strings.Contains(out, "sleep 3210") {
		t.Errorf("the process has ended with the caller:\n%s", out)
	}
	s = m.at("exec", "-it", "one", "sh", "-c", "read -r x; exit 7")
	s.types("x\r", "")
	s.ends(7, "")
	runs()
	// Its end is told to who is there.
	s = m.at("attach", "one")
	s.types("end\r", "got end")
	s.ends(5, "")
	// It is started again, and a caller that is killed takes nothing with it.
	s = m.at("start", "-a", "-i", "one")
	s.types("again\r", "got again")
	s.cmd.Process.Kill()
	<-s.ended
	runs()
	s = m.at("attach", "one")
	s.types("end\r", "got end")
	s.ends(5, "")
	m.is("one", "rm", "one")

	s = m.at("run", "-it", "--rm", "--name", "one", net, "box", "/no/such")
	s.ends(127, "/no/such")
	s = m.at("run", "-it", "--rm", "--name", "one", net, "box", "sh", "-c", "echo last words; exit 3")
	s.ends(3, "last words")
	m.is("", "ps", "-aq")
	actions := m.ok("events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}", "--filter", "container=one")
	if n := strings.Count(actions, "\ndetach"); n != 3 {
		t.Errorf("%d times detached:\n%s", n, actions)
	}
	until(t, "the exec is told of", func() bool {
		return strings.Contains(m.ok("events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}"), "exec_detach")
	})
}

// TestDetachAsDocker: what the keys bring, and the exit codes, are Docker's.
func TestDetachAsDocker(t *testing.T) {
	needRoot(t)
	env := append(os.Environ(), dockerDaemon(t)...)
	m := newMachine(t, "", "isolation=namespaces", 0)
	docker := func(args ...string) *screen {
		cmd := exec.Command("docker", args...)
		cmd.Env = env
		return show(t, cmd)
	}
	box := busyboxTree(t)
	for who, begin := range map[string]func(args ...string) *screen{"docker": docker, "us": m.at} {
		t.Log(who)
		begin("import", box, "busybox:keys").ends(0, "")
		const reads = "while read -r x; do echo got $x; done"
		s := begin("run", "-it", "--name", "keys", "--net", "none", "busybox:keys", "sh", "-c", reads)
		s.types("a\r", "got a")
		s.types(leave, "")
		s.ends(0, "")
		s = begin("attach", "keys")
		s.types("b\r", "got b")
		s.types(leave, "")
		s.ends(1, "read escape sequence")
		s = begin("exec", "-it", "keys", "sh", "-c", reads)
		s.types("c\r", "got c")
		s.types(leave, "")
		s.ends(1, "read escape sequence")
		s = begin("exec", "-it", "--detach-keys", "x", "keys", "sh", "-c", reads)
		s.types("d\r", "got d")
		s.types("x", "")
		s.ends(1, "read escape sequence")
		begin("kill", "keys").ends(0, "")
		s = begin("start", "-ai", "keys")
		s.types("e\r", "got e")
		s.types(leave, "")
		s.ends(0, "")
		begin("rm", "-f", "keys").ends(0, "")
	}
}
