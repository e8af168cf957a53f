package isolatetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends/isolate"
	"coracle/probe/probetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// entry is one more process for x, with its output in out.
func (x *box) entry(out *os.File, args ...string) *isolate.Entry {
	proc := *x.spec.Process
	proc.Args = args
	return &isolate.Entry{Process: &proc, IO: isolate.IO{Stdout: out, Stderr: out}}
}

// enter runs args to the end in the container that p is the first process of.
func (x *box) enter(p isolate.Process, change func(*isolate.Entry), args ...string) (string, syscall.WaitStatus, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	e := x.entry(w, args...)
	if change != nil {
		change(e)
	}
	q, err := x.h.Driver.Enter(context.Background(), x.target(p), e)
	w.Close()
	if err != nil {
		return "", 0, err
	}
	out, _ := io.ReadAll(r)
	ws, err := q.Wait()
	return strings.TrimSpace(string(out)), ws, err
}

// sleeper is a container that waits to be entered.
func sleeper(t *testing.T, h Harness) (*box, isolate.Process) {
	t.Helper()
	x := newBox(t, h)
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	return x, p
}

// enterMany: many at once, each with its own streams and exit code.
func enterMany(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x, p := sleeper(t, h)
	many := 50
	if testing.Short() {
		many = 12
	}
	var all sync.WaitGroup
	for n := range many {
		all.Go(func() {
			out, ws, err := x.enter(p, nil, "sh", "-c", fmt.Sprintf("echo %d; exit %d", n, n))
			if err != nil || out != itoa(n) || ws.ExitStatus() != n {
				t.Errorf("process %d: %q, status %#x, %v", n, out, ws, err)
			}
		})
	}
	all.Wait()
}

// enterAs: the process's own user, directory, rights and limits.
func enterAs(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x, p := sleeper(t, h)
	got, _, err := x.enter(p, func(e *isolate.Entry) { e.Process.Cwd = "/etc" }, "sh", "-c", "pwd")
	if err != nil || got != "/etc" {
		t.Errorf("working directory: %q, %v", got, err)
	}
	// That of a first process is made, this one is not.
	got, _, err = x.enter(p, func(e *isolate.Entry) { e.Process.Cwd = "/made/for/it" }, "sh", "-c", "pwd")
	var stage *isolate.StageError
	if !errors.As(err, &stage) || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("working directory that is missing: %q, %v", got, err)
	}
	if got, ws, err := x.enter(p, nil, "test", "-e", "/made"); err != nil || ws.ExitStatus() != 1 {
		t.Errorf("it was made: %q, status %#x, %v", got, ws, err)
	}
	got, _, err = x.enter(p, func(e *isolate.Entry) {
		e.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 77}}
	}, "grep", "Max open files", "/proc/self/limits")
	if f := strings.Fields(got); err != nil || len(f) < 5 || f[3] != "77" || f[4] != "77" {
		t.Errorf("limit: %q, %v", got, err)
	}
	got, _, err = x.enter(p, nil, "grep", "-E", "Cap(Eff|Bnd)", "/proc/self/status")
	for _, line := range strings.Split(got, "\n") {
		if f := strings.Fields(line); err != nil || len(f) != 2 || !within(f[1], given) {
			t.Errorf("capabilities: %q, %v", line, err)
		}
	}
	if h.UserNS {
		return // the single ID is root
	}
	got, _, err = x.enter(p, func(e *isolate.Entry) { e.User = "joe" }, "id")
	if want := "uid=1000(joe) gid=1000(joe) groups=1000(joe),2000(more)"; err != nil || got != want {
		t.Errorf("user: %q, %v", got, err)
	}
}

// enterWrong: what cannot be executed is the same typed error as of a first
// process.
func enterWrong(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x, p := sleeper(t, h)
	for arg, want := range map[string]syscall.Errno{
		"none": syscall.ENOENT, "/etc/plain": syscall.EACCES, "/bin/text": syscall.ENOEXEC, "/etc": syscall.EISDIR,
	} {
		_, _, err := x.enter(p, nil, arg)
		var exec *isolate.ExecError
		if !errors.As(err, &exec) || exec.Errno != want {
			t.Errorf("%q: %v, want %v", arg, err, want)
		}
	}
	var stage *isolate.StageError
	if _, _, err := x.enter(p, func(e *isolate.Entry) { e.User = "nosuch" }, "true"); !errors.As(err, &stage) {
		t.Errorf("unknown user: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if q, err := h.Driver.Enter(ctx, x.target(p), x.entry(nil, "sleep", "60")); err == nil {
		q.Signal(syscall.SIGKILL)
		q.Wait()
		t.Error("a cancelled start started")
	}
}

// enterSignals: the caller's signals reach the process and no other, and the
// container's end is its end.
func enterSignals(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x, p := sleeper(t, h)
	var entered []isolate.Process
	for range 3 {
		q, err := h.Driver.Enter(t.Context(), x.target(p), x.entry(nil, "sleep", "60"))
		if err != nil {
			t.Fatal(err)
		}
		if args, _ := os.ReadFile("/proc/" + itoa(q.PID()) + "/cmdline"); !strings.HasPrefix(string(args), "sleep") || q.StartTime() == 0 {
			t.Errorf("PID %d, started at %d, is %q", q.PID(), q.StartTime(), args)
		}
		entered = append(entered, q)
	}
	if err := entered[0].Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if ws, err := entered[0].Wait(); err != nil || ws.Signal() != syscall.SIGTERM {
		t.Errorf("status %#x after SIGTERM, %v", ws, err)
	}
	if err := entered[0].Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after the end: %v", err)
	}
	if err := entered[1].Signal(0); err != nil {
		t.Errorf("the others: %v", err)
	}
	pids, err := h.Driver.Processes(x.target(p))
	if err != nil || !slices.Contains(pids, entered[1].PID()) || !slices.Contains(pids, entered[2].PID()) {
		t.Errorf("processes: %v %v, without %d or %d", pids, err, entered[1].PID(), entered[2].PID())
	}
	p.Signal(syscall.SIGKILL)
	p.Wait()
	if !h.PIDNamespace {
		if err := h.Driver.Sweep(t.Context(), x.target(p)); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range entered[1:] {
		if ws, err := q.Wait(); err != nil || ws.Signal() != syscall.SIGKILL {
			t.Errorf("status %#x after the container's end, %v", ws, err)
		}
	}
	if _, err := h.Driver.Enter(t.Context(), x.target(p), x.entry(nil, "true")); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("enter a container that has ended: %v", err)
	}
}

func enterTerminal(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x, p := sleeper(t, h)
	e := x.entry(nil, "sh", "-c", "stty size; tty; read line; echo got $line")
	e.IO = isolate.IO{Terminal: true, Rows: 33, Cols: 101}
	q, err := h.Driver.Enter(t.Context(), x.target(p), e)
	if err != nil {
		t.Fatal(err)
	}
	if q.Console() == nil {
		t.Fatal("no console")
	}
	defer q.Console().Close()
	io.WriteString(q.Console(), "word\n") // is echoed at once, between the rest
	out, _ := io.ReadAll(q.Console())     // EIO at the end
	q.Wait()
	if got := strings.ReplaceAll(string(out), "\r", ""); !strings.Contains(got, "33 101\n") || !strings.Contains(got, "/dev/pts/0\n") || !strings.HasSuffix(got, "got word\n") {
		t.Errorf("%q", got)
	}
}

// enterDirectly: without a second stage where nobody in the container could get hold
// of our process before it is the program, and with one elsewhere.
func enterDirectly(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	if h.Direct == nil {
		return
	}
	for _, c := range []struct {
		what   string
		direct int64
		change func(*isolate.Entry)
		args   []string
		want   string
	}{
		{"an ordinary one", 1, nil, []string{"id", "-u"}, "0"},
		{"another user", 1, func(e *isolate.Entry) { e.User = "joe" }, []string{"id", "-u"}, "1000"},
		{"no new privileges", 1, func(e *isolate.Entry) { e.Process.NoNewPrivileges = true }, []string{"grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t1"},
		{"OOM score", 1, func(e *isolate.Entry) { n := 123; e.Process.OOMScoreAdj = &n }, []string{"cat", "/proc/self/oom_score_adj"}, "123"},
		{"one that may trace", 0, func(e *isolate.Entry) {
			c := *e.Process.Capabilities
			c.Bounding = append(c.Bounding[:len(c.Bounding):len(c.Bounding)], "CAP_SYS_PTRACE")
			e.Process.Capabilities = &c
		}, []string{"id", "-u"}, "0"},
		{"capabilities that nobody limits", 0, func(e *isolate.Entry) { e.Process.Capabilities = nil }, []string{"id", "-u"}, "0"},
		{"control groups without a door", 0, func(e *isolate.Entry) { e.Joined = func(int) error { return nil } }, []string{"id", "-u"}, "0"},
	} {
		x, p := sleeper(t, h)
		was := h.Direct()
		got, ws, err := x.enter(p, c.change, c.args...)
		if n := h.Direct() - was; err != nil || got != c.want || ws != 0 || n != c.direct {
			t.Errorf("%s: %q, status %#x, %v, %d without a stage, want %q, %d", c.what, got, ws, err, n, c.want, c.direct)
		}
	}
}

// enterTrap: a container in which reading a file never ends holds up nobody who gives
// up.
func enterTrap(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	for _, c := range []struct{ trap, run string }{{"etc/passwd", "sleep"}, {"bin/fifo", "fifo"}} {
		x, p := sleeper(t, h)
		trap := filepath.Join(x.spec.Root.Path, c.trap)
		os.Remove(trap)
		if err := syscall.Mkfifo(trap, 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if q, err := h.Driver.Enter(ctx, x.target(p), x.entry(nil, c.run, "60")); err == nil {
			q.Signal(syscall.SIGKILL)
			q.Wait()
			t.Errorf("%s was read", c.trap)
		}
		stop()
		// Whoever still waits for it is let go, and starts nothing.
		if f, err := os.OpenFile(trap, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}
}

// Agent runs the tests of drivers that keep an agent, and with it all others; with
// -short, for emulated machines, those of entering.
func Agent(t *testing.T, newHarness func(t *testing.T) Harness) {
	if testing.Short() {
		runAll(t, newHarness, entering())
	} else {
		Run(t, newHarness)
		Hostile(t, newHarness)
	}
	runAll(t, newHarness, map[string]func(*testing.T, Harness){
		"agent is out of reach": agentOutOfReach, "agent is held": agentHeld, "agent's descriptors": agentDescriptors,
		"orphans": agentReaps, "agent with init": agentWithInit,
	})
}

// agentOutOfReach: root in the container can neither look into the agent nor end
// it, and finds no socket of it.
func agentOutOfReach(t *testing.T, h Harness) {
	x := newBox(t, h)
	// The signals that the agent passes on are not to end the program.
	p, err := x.start("sh", "-c", "trap '' SEGV ABRT FPE TRAP; sleep 60")
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range []string{
		"cat /proc/1/environ", "cat /proc/1/maps", "readlink /proc/1/fd/4", "readlink /proc/1/exe", "readlink /proc/1/cwd",
		"cat /proc/1/mem", "ls /proc/1/root/", "cat /proc/1/fd/4", "cat /proc/1/exe",
	} {
		if out, ws, err := x.enter(p, nil, "sh", "-c", try); err != nil || ws.ExitStatus() == 0 {
			t.Errorf("%s: %q, %v", try, out, err)
		}
	}
	if _, _, err := x.enter(p, nil, "sh", "-c", "kill -9 1; for s in STOP SEGV ABRT FPE TRAP; do kill -$s 1; done; sleep 0.1"); err != nil {
		t.Error(err)
	}
	if out, ws, err := x.enter(p, nil, "sh", "-c", "cat /proc/net/unix | grep -c agent.sock"); err != nil || out != "0" || ws.ExitStatus() != 1 {
		t.Errorf("sockets of the container's network: %q, %#x, %v", out, ws, err)
	}
	if err := p.Signal(0); err != nil {
		t.Errorf("the agent was killed from inside: %v", err)
	}
}

// agentHeld: a container that may trace, or mount, could take the agent's
// rights, so the agent has no more than it.
func agentHeld(t *testing.T, h Harness) {
	for _, name := range []string{"CAP_SYS_PTRACE", "CAP_SYS_ADMIN"} {
		x := newBox(t, h)
		c := x.spec.Process.Capabilities
		c.Bounding = append(c.Bounding[:len(c.Bounding):len(c.Bounding)], name)
		c.Effective, c.Permitted = c.Bounding, c.Bounding
		p, err := x.start("sleep", "60")
		if err != nil {
			t.Fatal(err)
		}
		mask := uint64(given | 1<<8) // CAP_SETPCAP, for the change of user
		mask |= map[string]uint64{"CAP_SYS_PTRACE": 1 << 19, "CAP_SYS_ADMIN": 1 << 21}[name]
		files, _ := filepath.Glob("/proc/" + itoa(p.PID()) + "/task/*/status")
		for _, file := range files {
			data, _ := os.ReadFile(file)
			for _, line := range strings.Split(string(data), "\n") {
				f := strings.Fields(line)
				first := strings.HasSuffix(filepath.Dir(file), "/"+itoa(p.PID()))
				if len(f) == 2 && (f[0] == "CapEff:" || f[0] == "CapPrm:" || f[0] == "CapBnd:" && first) && !within(f[1], mask) {
					t.Errorf("with %s, %s: %s", name, file, line)
				}
			}
		}
		if out, _, err := x.enter(p, nil, "id", "-u"); err != nil || out != "0" {
			t.Errorf("enter: %q, %v", out, err)
		}
	}
}

// agentDescriptors: the agent stays, so what a careless parent left open must not.
func agentDescriptors(t *testing.T, h Harness) {
	secret, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	syscall.Syscall(syscall.SYS_FCNTL, secret.Fd(), syscall.F_SETFD, 0)
	x, p := sleeper(t, h)
	dir := "/proc/" + itoa(p.PID()) + "/fd"
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		to, _ := os.Readlink(filepath.Join(dir, name.Name()))
		if to != "/dev/null" && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:") {
			t.Errorf("descriptor %s of the agent is %s", name.Name(), to)
		}
	}
	if out, _, err := x.enter(p, nil, "sh", "-c", "exec ls /proc/self/fd"); err != nil || len(strings.Fields(out)) != 4 {
		t.Errorf("descriptors in the container: %q, %v", out, err)
	}
}

// agentReaps: what is orphaned in a PID namespace is the agent's child.
func agentReaps(t *testing.T, h Harness) {
	x, p := sleeper(t, h)
	if _, _, err := x.enter(p, nil, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &) ; done"); err != nil {
		t.Fatal(err)
	}
	for until := deadline(); ; time.Sleep(20 * time.Millisecond) {
		out, _, err := x.enter(p, nil, "sh", "-c", "ps -o stat,args | grep -c '[s]leep 0.01'")
		if err == nil && out == "0" {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("orphans: %q, %v", out, err)
		}
	}
}

// agentWithInit: the agent is an init already, and there is no second one.
func agentWithInit(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.b.Init = true
	p, err := x.start("sh", "-c", "sleep 0.2; exit 9")
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := h.Driver.Processes(x.target(p)); err != nil || len(pids) > 3 {
		t.Errorf("processes: %v, %v", pids, err)
	}
	if ws, _ := p.Wait(); ws.ExitStatus() != 9 {
		t.Errorf("status %#x", ws)
	}
}
