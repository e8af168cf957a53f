package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This binary is also the agent under test, its program, the second stage that it
// starts, and a client of another user.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == "agent":
		os.Exit(agentMain())
	case os.Args[0] == "program":
		time.Sleep(time.Minute)
		os.Exit(0)
	case os.Args[0] == "stage":
		// Until the client closes its end, or a signal.
		n, _ := os.NewFile(3, "talk").Read(make([]byte, 1))
		os.Exit(40 + n)
	case os.Args[0] == "stranger":
		c, err := Dial(os.Args[1])
		if err == nil {
			err = c.Start(context.Background(), [files]int{0, 1, 2, 0})
		}
		if errors.Is(err, unix.EPERM) {
			os.Exit(3)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func agentMain() int {
	unix.CloseOnExec(3)
	in := NewInit()
	sys := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	program, err := syscall.ForkExec("/proc/self/exe", []string{"program"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: sys})
	if err == nil {
		err = in.Listen(3, func(fds []uintptr) (int, error) {
			return syscall.ForkExec("/proc/self/exe", []string{"stage"}, &syscall.ProcAttr{Files: fds, Sys: sys})
		})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 99
	}
	return in.Tend(program)
}

// serve starts an agent whose socket is in the directory that is returned.
func serve(t *testing.T) (dir string, agent *os.Process) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p, err := os.StartProcess("/proc/self/exe", []string{"agent"}, &os.ProcAttr{Files: []*os.File{null, null, os.Stderr, l}, Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Signal(syscall.SIGTERM); p.Wait() })
	return dir, p
}

// ask starts a process and returns its connection and our end of its talk.
func ask(t *testing.T, dir string) (*Conn, *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	ours := os.NewFile(uintptr(pair[0]), "talk")
	t.Cleanup(func() { ours.Close() })
	c, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), [files]int{0, 1, 2, pair[1]}); err != nil {
		t.Fatal(err)
	}
	return c, ours
}

func TestProcess(t *testing.T) {
	dir, _ := serve(t)
	c, talk := ask(t, dir)
	defer c.Close()
	talk.Close()
	if ws := c.Wait(); ws.ExitStatus() != 40 {
		t.Errorf("status %#x", ws)
	}
	c, talk = ask(t, dir)
	defer c.Close()
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if ws := c.Wait(); ws.Signal() != unix.SIGKILL {
		t.Errorf("status %#x after SIGKILL", ws)
	}
	talk.Close()
}

// TestGone: a process does not outlive its client, nor a client its agent.
func TestGone(t *testing.T) {
	dir, agent := serve(t)
	c, talk := ask(t, dir)
	c.Close()
	// Our end of the talk ends when the process does.
	talk.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := talk.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("the process outlived its client: %d, %v", n, err)
	}
	c, _ = ask(t, dir)
	defer c.Close()
	agent.Kill()
	agent.Wait()
	if ws := c.Wait(); ws.Signal() != unix.SIGKILL {
		t.Errorf("status %#x when the agent is gone", ws)
	}
	if _, err := Dial(dir); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("dial: %v", err)
	}
	Forget(dir)
	if _, err := Dial(dir); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("dial: %v", err)
	}
}

// TestBadRequests: what is no request is refused, and the agent serves on.
func TestBadRequests(t *testing.T) {
	dir, _ := serve(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	for name, req := range map[string]struct {
		data []byte
		fds  []int
	}{
		"another version": {[]byte{version + 1}, []int{fd, fd, fd, fd}},
		"no descriptors":  {[]byte{version}, nil},
		"too few":         {[]byte{version}, []int{fd}},
		"too many":        {[]byte{version}, []int{fd, fd, fd, fd, fd, fd, fd, fd}},
	} {
		c, err := Dial(dir)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := c.f.SyscallConn()
		var oob []byte
		if len(req.fds) > 0 {
			oob = unix.UnixRights(req.fds...)
		}
		raw.Write(func(fd uintptr) bool {
			err = unix.Sendmsg(int(fd), req.data, oob, nil, 0)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.read()
		// What is cut off is too few, or too many, but never served.
		if err != nil || answer != -int32(unix.EPROTO) {
			t.Errorf("%s: %d, %v", name, answer, err)
		}
		c.Close()
	}
	silent, err := Dial(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, talk := ask(t, dir)
	defer c.Close()
	talk.Close()
	if ws := c.Wait(); ws.ExitStatus() != 40 {
		t.Errorf("status %#x beside a silent client", ws)
	}
}

// TestStranger: who is not root is refused, even where the socket can be reached.
func TestStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become another user")
	}
	dir, _ := serve(t)
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	os.Chmod(filepath.Join(dir, socketName), 0o777)
	exe := filepath.Join(dir, "stranger")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(exe, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: []string{"stranger", dir}, Stderr: os.Stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242}}
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("a stranger is not refused: %v", err)
	}
}

// TestMany: descriptors do not pile up in the agent.
func TestMany(t *testing.T) {
	dir, agent := serve(t)
	count := func() int {
		names, _ := os.ReadDir("/proc/" + strconv.Itoa(agent.Pid) + "/fd")
		return len(names)
	}
	for range 3 {
		c, talk := ask(t, dir)
		talk.Close()
		c.Wait()
		c.Close()
	}
	before := count()
	for range 50 {
		c, talk := ask(t, dir)
		talk.Close()
		c.Wait()
		c.Close()
	}
	for until := time.Now().Add(2 * time.Second); count() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d descriptors, %d before", count(), before)
		}
	}
}
