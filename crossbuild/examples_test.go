package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends/limits/limitstest"

	"golang.org/x/sys/unix"
)

// world is where an init example is tried: the product, state of its own, and a
// container's name that nobody else has.
type world struct {
	t              *testing.T
	dir, bin, name string
}

// newWorld takes the product under test, or builds it.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: an init starts containers as root")
	}
	dir := t.TempDir()
	w := &world{t: t, dir: dir, bin: filepath.Join(dir, "coracle"), name: fmt.Sprintf("web%d", os.Getpid())}
	if given := os.Getenv("CORACLE"); given != "" {
		if err := os.Symlink(given, w.bin); err != nil {
			t.Fatal(err)
		}
	} else {
		build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", w.bin, "../cmd/coracle")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Setenv("CORACLE_ROOT", filepath.Join(dir, "root"))
	t.Setenv("CORACLE_RUN", filepath.Join(dir, "run"))
	t.Cleanup(func() { limitstest.Unmount(filepath.Join(dir, "run")) })
	t.Setenv("PATH", dir+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	t.Cleanup(func() {
		exec.Command(w.bin, "rm", "-f", w.name).Run()
		if left := w.coracle("ps", "-aq"); left != "" {
			t.Errorf("containers are left: %s", left)
		}
	})
	return w
}

func (w *world) coracle(args ...string) string {
	out, err := exec.Command(w.bin, args...).CombinedOutput()
	if err != nil {
		w.t.Errorf("coracle %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// example writes a copy of a file that has this test's binary, container, port
// and files in it instead of the example's.
func (w *world) example(name, to string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "contrib", "init", filepath.FromSlash(name)))
	if err != nil {
		w.t.Fatal(err)
	}
	s := strings.NewReplacer(
		"/usr/bin/coracle", w.bin, "--name web ", "--name "+w.name+" ", "rm -f web", "rm -f "+w.name,
		"-v /srv/www:/www:ro ", "", "-p 8080", "-p 127.0.0.1:0",
		"/var/log/", w.dir+"/", "/var/run/", w.dir+"/",
	).Replace(string(text))
	to = filepath.Join(w.dir, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(s), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return to
}

// until waits for the container's state, as ps says it; "" is none.
func (w *world) until(state string) {
	w.t.Helper()
	var got string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = w.coracle("ps", "-a", "--filter", "name="+w.name, "--format", "{{.State}}"); got == state {
			return
		}
	}
	w.t.Fatalf("the container is %q after a minute, not %q", got, state)
}

// monitor is the process that holds the container.
func (w *world) monitor() string {
	w.t.Helper()
	pid := w.coracle("inspect", "--format", "{{.State.Pid}}", w.name)
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1]
}

// supervised runs a supervisor in the foreground; the function ends it.
func (w *world) supervised(args ...string) (cmd *exec.Cmd, end func()) {
	w.t.Helper()
	var out bytes.Buffer
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	end = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(time.Minute):
			cmd.Process.Kill()
			w.t.Errorf("%v does not end: %s", args, &out)
		}
	})
	w.t.Cleanup(end)
	return cmd, end
}

// needs skips where a program is missing.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs the program %s", program)
	}
}

// TestSysV goes through all the words of the script, with its exit codes.
func TestSysV(t *testing.T) {
	needs(t, "setsid")
	w := newWorld(t)
	script := w.example("sysv/coracle-web", "coracle-web")
	t.Setenv("NAME", w.name)
	call := func(word string, want int) string {
		t.Helper()
		cmd := exec.Command(script, word)
		cmd.Env = append(os.Environ(), "CORACLE="+w.bin)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%s: exit code %d, want %d: %s", word, code, want, out)
		}
		return string(out)
	}
	call("status", 3)
	call("start", 0)
	w.until("running")
	call("start", 0)
	if out := call("status", 0); !strings.Contains(out, "process "+w.monitor()) {
		t.Errorf("not the container's parent %s: %s", w.monitor(), out)
	}
	call("restart", 0)
	w.until("running")
	call("stop", 0)
	w.until("")
	call("stop", 0)
	call("status", 3)
	call("dance", 2)
	t.Setenv("ARGS", "box /no/such/program")
	if out := call("start", 1); !strings.Contains(out, "/no/such/program") {
		t.Errorf("the reason is not said: %s", out)
	}
}

func TestRunit(t *testing.T) {
	needs(t, "runsv")
	w := newWorld(t)
	w.example("runit/web/run", "sv/run")
	w.example("runit/web/finish", "sv/finish")
	w.example("runit/web/log/run", "sv/log/run")
	cmd, end := w.supervised("runsv", filepath.Join(w.dir, "sv"))
	w.until("running")
	first := w.monitor()
	if parent, err := os.ReadFile("/proc/" + first + "/stat"); err != nil || !strings.Contains(string(parent), fmt.Sprintf(" %d ", cmd.Process.Pid)) {
		t.Errorf("the container's parent is not runsv's child: %s %v", parent, err)
	}
	// One that ends is started again.
	w.coracle("kill", w.name)
	for limit := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		w.until("running")
		if w.monitor() != first {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("not started again")
		}
	}
	end()
	w.until("")
}

func TestSupervisord(t *testing.T) {
	needs(t, "supervisord")
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &unix.Rlimit{}); errors.Is(err, unix.ENOSYS) {
		t.Skip("missing feature: prlimit64(2), which supervisord's Python calls")
	}
	w := newWorld(t)
	conf := w.example("supervisord/coracle-web.conf", "web.conf")
	main := filepath.Join(w.dir, "supervisord.conf")
	text := "[supervisord]\nnodaemon=true\nuser=root\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=" + w.dir + "/pid\n[include]\nfiles=" + conf + "\n"
	if err := os.WriteFile(main, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, end := w.supervised("supervisord", "-c", main)
	w.until("running")
	end()
	w.until("")
}

// TestInittab runs the line's command as init does: by a shell, as its child.
func TestInittab(t *testing.T) {
	w := newWorld(t)
	lines, err := os.ReadFile(w.example("inittab/inittab", "inittab"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for line := range strings.Lines(string(lines)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "#::")
		if f := strings.SplitN(line, ":", 4); len(f) == 4 && len(f[0]) > 0 && len(f[0]) <= 4 && f[2] == "respawn" {
			commands = append(commands, f[3])
		} else if rest, ok := strings.CutPrefix(line, "respawn:"); ok {
			commands = append(commands, rest)
		}
	}
	if len(commands) != 2 {
		t.Fatalf("%d commands of two: %q", len(commands), commands)
	}
	for _, c := range commands {
		_, end := w.supervised("sh", "-c", "exec "+c)
		w.until("running")
		end()
		w.until("")
	}
}

// TestExamplesAreSound asks the tools of the trade.
func TestExamplesAreSound(t *testing.T) {
	dir := filepath.Join("..", "contrib", "init")
	t.Run("shellcheck", func(t *testing.T) {
		for _, name := range []string{"sysv/coracle-web", "runit/web/run", "runit/web/finish", "runit/web/log/run"} {
			command(t, dir, "shellcheck", "-s", "sh", name)
		}
		// OpenRC reads the variables, and is the script's interpreter.
		command(t, dir, "shellcheck", "-s", "sh", "-e", "SC2034,SC2187", "openrc/coracle-web")
	})
	t.Run("systemd", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(dir, "systemd", "coracle-web.service"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "coracle-web.service")
		// It looks for the program, which is not installed here.
		if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte("/usr/bin/coracle"), []byte("/bin/true")), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := command(t, dir, "systemd-analyze", "verify", "--man=no", file); strings.Contains(out, "coracle-web.service") {
			t.Error(out)
		}
	})
}
