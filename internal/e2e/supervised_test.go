package e2e

import (
	"bytes"
	"context"
	network "net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSuperviseRun is a supervisor of `supervise run`, on rungs of each kind of
// isolation.
func TestSuperviseRun(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat(debian); err != nil {
		t.Fatalf("the Debian tree is missing; `make test` makes it: %v", err)
	}
	for _, r := range []rung{
		{name: "namespaces", backend: "isolation=namespaces"},
		{name: "user", backend: "isolation=userns,rootfs=overlay-userns", uid: ordinary},
		{name: "chroot", backend: "isolation=chroot,rootfs=copy", fs: "tmpfs"},
		{name: "chroot without mount namespaces", backend: "isolation=chroot,rootfs=copy", fs: "tmpfs", takes: "mountns"},
	} {
		t.Run(r.name, func(t *testing.T) {
			dir := ""
			if r.fs != "" {
				dir = loopFS(t, r.fs, 1500)
			}
			m := newMachine(t, dir, r.backend, r.uid)
			m.wrap = withhold(t, r.takes)
			m.ok("import", debian, "debian")
			s := &supervisor{m: m}
			s.listen(filepath.Join(m.dir, "notify"))
			t.Run("signals", func(t *testing.T) { s.m.t = t; s.signals() })
			t.Run("killed", func(t *testing.T) { s.m.t = t; s.killed() })
			t.Run("ready", func(t *testing.T) { s.m.t = t; s.ready() })
			t.Run("errors", func(t *testing.T) { s.m.t = t; s.errors() })
			s.m.t = t
		})
	}
}

// supervisor starts the command as runit and systemd do.
type supervisor struct {
	m      *machine
	socket *network.UnixConn
	env    []string
	out    bytes.Buffer
}

func (s *supervisor) listen(name string) {
	t := s.m.t
	l, err := network.ListenUnixgram("unixgram", &network.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if name[0] == '/' {
		os.Chmod(name, 0o666)
	}
	s.socket, s.env = l, []string{"NOTIFY_SOCKET=" + name}
}

// hears reads messages until one has the line.
func (s *supervisor) hears(line string) {
	s.m.t.Helper()
	buf := make([]byte, 1<<14)
	var all strings.Builder
	for {
		s.socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := s.socket.Read(buf)
		if err != nil {
			s.m.t.Fatalf("%q is not said: %v\n%s%s", line, err, all.String(), s.out.String())
		}
		for got := range strings.SplitSeq(string(buf[:n]), "\n") {
			all.WriteString(got + "\n")
			if got == line {
				return
			}
		}
	}
}

func (s *supervisor) start(args ...string) *exec.Cmd {
	s.m.t.Helper()
	cmd := s.m.command(context.Background(), append([]string{"supervise", "run"}, args...)...)
	cmd.Env = append(cmd.Env, s.env...)
	s.out.Reset()
	// What the last one said is not this one's word.
	for buf := make([]byte, 1<<14); ; {
		s.socket.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := s.socket.Read(buf); err != nil {
			break
		}
	}
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	if err := cmd.Start(); err != nil {
		s.m.t.Fatal(err)
	}
	return cmd
}

// ends waits for the end and compares the exit code.
func (s *supervisor) ends(cmd *exec.Cmd, code int) {
	s.m.t.Helper()
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.m.t.Errorf("exit code %d, want %d: %s", got, code, s.out.String())
	}
}

// monitor is the process to signal: the wrapper of a rung may stand before it.
func (s *supervisor) monitor(cmd *exec.Cmd, name string) *os.Process {
	pid := s.m.ok("inspect", "--format", "{{.State.Pid}}", name)
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		s.m.t.Fatalf("%s does not run: %v: %s", name, err, s.out.String())
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if n, err := strconv.Atoi(f[1]); err == nil && len(s.m.wrap) > 0 {
		p, _ := os.FindProcess(n)
		return p
	} else if n != cmd.Process.Pid {
		s.m.t.Errorf("the container's parent is %d and not the supervisor's child %d", n, cmd.Process.Pid)
	}
	return cmd.Process
}

const obedient = `trap "echo bye; exit 9" USR1; trap "echo again" HUP; echo up; while :; do sleep 0.05; done`

func (s *supervisor) signals() {
	m, t := s.m, s.m.t
	m.ok("create", "--name", "web", net, "--stop-signal", "USR1", "debian", "sh", "-c", obedient)
	defer m.ok("rm", "-f", "web")
	for range 2 {
		cmd := s.start("web")
		s.hears("READY=1")
		p := s.monitor(cmd, "web")
		until(t, "it is up", func() bool { return strings.Contains(m.ok("logs", "web"), "up") })
		m.fails(125, "web is already running", "supervise", "run", "web")
		p.Signal(syscall.SIGHUP)
		until(t, "SIGHUP is passed on", func() bool { return strings.HasSuffix(m.ok("logs", "web"), "again") })
		p.Signal(syscall.SIGTERM)
		s.ends(cmd, 9)
		s.hears("STOPPING=1")
		if got := s.out.String(); got != "up\nagain\nbye\n" {
			t.Errorf("output: %q", got)
		}
		m.ok("rm", "web")
		m.ok("create", "--name", "web", net, "--stop-signal", "USR1", "debian", "sh", "-c", obedient)
	}
	// One that does not obey.
	m.ok("create", "--name", "deaf", net, "--stop-timeout", "1", "debian", "sh", "-c", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
	defer m.ok("rm", "-f", "deaf")
	cmd := s.start("--no-log", "deaf")
	s.hears("READY=1")
	// As long as the trap is not set it would obey.
	until(t, "the trap is set", func() bool { return s.ignores("deaf", syscall.SIGTERM) })
	s.monitor(cmd, "deaf").Signal(syscall.SIGTERM)
	s.ends(cmd, 137)
	if log := m.ok("logs", "deaf"); log != "" {
		t.Errorf("kept twice: %q", log)
	}
	// Its own end.
	m.ok("create", "--name", "short", net, "debian", "sh", "-c", "exit 3")
	defer m.ok("rm", "-f", "short")
	s.ends(s.start("short"), 3)
}

// ignores tells whether the container's program ignores a signal (proc(5),
// SigIgn).
func (s *supervisor) ignores(name string, sig syscall.Signal) bool {
	first := s.m.ok("inspect", "--format", "{{.State.Pid}}", name)
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		status, _ := os.ReadFile(file)
		// It is the child of the first process where that is the agent.
		if !strings.Contains(string(status), "\nPid:\t"+first+"\n") && !strings.Contains(string(status), "\nPPid:\t"+first+"\n") {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "SigIgn:\t")
		if mask, _ := strconv.ParseUint(strings.SplitN(rest, "\n", 2)[0], 16, 64); mask>>(sig-1)&1 == 1 {
			return true
		}
	}
	return false
}

// killed: nothing of the container outlives its monitor and the next command.
func (s *supervisor) killed() {
	m, t := s.m, s.m.t
	m.ok("create", "--name", "crash", net, "debian", "sh", "-c", `trap "exit 5" TERM; sleep 987654 & setsid sleep 987654 & wait`)
	defer m.ok("rm", "-f", "crash")
	cmd := s.start("crash")
	s.hears("READY=1")
	until(t, "its processes are there", func() bool { return sleepers() == 2 })
	s.monitor(cmd, "crash").Kill()
	cmd.Wait()
	if got := m.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "crash"); got != "exited 137" {
		t.Errorf("%q", got)
	}
	until(t, "all are gone", func() bool { return sleepers() == 0 })
	// And it starts again.
	cmd = s.start("crash")
	s.hears("READY=1")
	until(t, "its processes are there again", func() bool { return sleepers() == 2 })
	s.monitor(cmd, "crash").Signal(syscall.SIGTERM)
	s.ends(cmd, 5)
}

// sleepers counts the container's processes on the host.
func sleepers() int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if line, _ := os.ReadFile(f); string(line) == "sleep\x00987654\x00" {
			n++
		}
	}
	return n
}

// says is a program that uses the protocol.
const says = `use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die; sub say_ { send(S, $_[0], 0, pack_sockaddr_un($ENV{NOTIFY_SOCKET})) or die "$ENV{NOTIFY_SOCKET}: $!" }
$SIG{TERM} = sub { exit 0 }; say_("STATUS=watchdog $ENV{WATCHDOG_USEC}"); say_("MAINPID=1\nREADY=1\nX=1"); sleep 1 while 1`

func (s *supervisor) ready() {
	m, t := s.m, s.m.t
	was := s.env
	defer func() { s.env = was }()
	m.ok("create", "--name", "says", net, "debian", "perl", "-e", says)
	defer m.ok("rm", "-f", "says")
	old := s.socket
	for _, name := range []string{"", "@coracle-e2e-" + strconv.Itoa(os.Getpid())} {
		if name != "" {
			s.listen(name)
		}
		s.env = append(s.env, "WATCHDOG_USEC=60000000")
		cmd := s.start("--ready", "container", "says")
		s.hears("STATUS=watchdog 60000000")
		s.hears("READY=1")
		s.monitor(cmd, "says").Signal(syscall.SIGTERM)
		s.ends(cmd, 0)
		s.hears("STOPPING=1")
	}
	s.socket, s.env = old, was
	// Healthy is when the check says so, and the file is there.
	m.ok("create", "--name", "well", net, "--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "debian", "sh", "-c",
		`trap "exit 0" TERM; while :; do sleep 0.1; done`)
	defer m.ok("rm", "-f", "well")
	cmd := s.start("--ready", "healthy", "well")
	until(t, "it runs", func() bool { return m.ok("inspect", "--format", "{{.State.Running}}", "well") == "true" })
	s.hears("MAINPID=" + strconv.Itoa(s.monitor(cmd, "well").Pid))
	s.socket.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	for buf := make([]byte, 1<<12); ; {
		n, err := s.socket.Read(buf)
		if err != nil {
			break
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			t.Errorf("ready before it is healthy: %s", buf[:n])
		}
	}
	m.ok("exec", "well", "touch", "/tmp/well")
	s.hears("READY=1")
	s.monitor(cmd, "well").Signal(syscall.SIGTERM)
	s.ends(cmd, 0)
	// Without being asked to, nothing of it goes into the container.
	if out := m.ok("run", "--rm", net, "debian", "env"); strings.Contains(out, "NOTIFY") {
		t.Error(out)
	}
}

func (s *supervisor) errors() {
	m := s.m
	m.fails(125, "No such container: nosuch", "supervise", "run", "nosuch")
	m.fails(125, `"soon" is none of`, "supervise", "run", "--ready", "soon", "x")
	m.fails(125, "descriptor 77", "supervise", "run", "--notify-fd", "77", "x")
	m.fails(125, "go with --background", "supervise", "run", "--pidfile", "/x", "x")
	m.fails(1, "requires 1 argument", "supervise", "run")
	m.ok("create", "--name", "plain", net, "debian", "true")
	defer m.ok("rm", "-f", "plain")
	m.fails(125, "has no health check", "supervise", "run", "--ready", "healthy", "plain")
	m.ok("create", "--name", "nothing", net, "debian", "/no/such/program")
	defer m.ok("rm", "-f", "nothing")
	m.fails(127, "/no/such/program", "supervise", "run", "nothing")
	log := filepath.Join(m.dir, "log")
	m.fails(127, "/no/such/program", "supervise", "run", "--background", "--log", log, "--pidfile", filepath.Join(m.dir, "pid"), "nothing")
}
