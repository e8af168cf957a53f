package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends"

	"github.com/moby/moby/api/types/container"
)

// ways are the rungs of entering that are forced, as the user we are.
func ways() []string {
	if os.Geteuid() != 0 {
		return []string{"isolation=userns,rootfs=copy,entering=setns", "isolation=userns,rootfs=copy,entering=agent"}
	}
	return []string{"isolation=namespaces,entering=setns", "isolation=namespaces,entering=agent", "isolation=chroot,entering=procroot"}
}

func TestExec(t *testing.T) {
	for _, wish := range ways() {
		t.Run(wish, func(t *testing.T) {
			h := newHarness(t, wish)
			for name, f := range map[string]func(*testing.T, *harness, string){
				"crowd": execCrowd, "streams": execStreams, "as": execAs, "client killed": execClientKilled,
				"monitor killed": execMonitorKilled, "container stops": execStopped, "terminal": execTerminal,
			} {
				t.Run(name, func(t *testing.T) {
					g := &harness{Engine: h.open(), t: t, opt: h.opt}
					// With an init, whichever rung: two must not stand in each other's way.
					yes := name == "crowd"
					id := g.create(wanted{args: sh("trap 'exit 0' TERM; echo up; sleep 60 & wait"), host: func(hc *container.HostConfig) { hc.Init = &yes }})
					if err := g.Start(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					g.waitLog(id, "up\n")
					f(t, g, id)
					if err := g.open().Remove(context.Background(), id, true, true); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// execIn runs script in a container of h.
func (h *harness) execIn(id, script string) (out string, code int, err error) {
	var b bytes.Buffer
	code, err = h.open().Exec(context.Background(), id, container.ExecCreateRequest{Cmd: sh(script)}, Streams{Stdout: &b, Stderr: &b})
	return b.String(), code, err
}

func execCrowd(t *testing.T, h *harness, id string) {
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			out, code, err := h.execIn(id, fmt.Sprintf("echo %d; exit %d", n, n))
			if err != nil || code != n || out != fmt.Sprintf("%d\n", n) {
				t.Errorf("process %d: %q, code %d, %v", n, out, code, err)
			}
		})
	}
	all.Wait()
}

func execStreams(t *testing.T, h *harness, id string) {
	data := strings.Repeat("0123456789abcde\n", 1<<16)
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	go func() { io.WriteString(feed, data); feed.Close() }()
	var out bytes.Buffer
	code, err := h.open().Exec(t.Context(), id, container.ExecCreateRequest{Cmd: sh("cat; echo end; exit 5"), AttachStdin: true},
		Streams{Stdin: in, Stdout: &out})
	if err != nil || code != 5 || out.String() != data+"end\n" {
		t.Errorf("%d bytes, code %d, %v", out.Len(), code, err)
	}
}

func execAs(t *testing.T, h *harness, id string) {
	run := func(req container.ExecCreateRequest) string {
		var out bytes.Buffer
		if _, err := h.open().Exec(t.Context(), id, req, Streams{Stdout: &out, Stderr: &out}); err != nil {
			return err.Error()
		}
		return out.String()
	}
	if out := run(container.ExecCreateRequest{Cmd: sh("pwd; echo $A"), WorkingDir: "/data", Env: []string{"A=1"}}); out != "/data\n1\n" {
		t.Errorf("%q", out)
	}
	out := run(container.ExecCreateRequest{Cmd: []string{"id"}, User: "joe"})
	if h.drivers().Isolation == "userns" && !strings.Contains(out, "uid=1000") {
		if !strings.Contains(out, "does not map") {
			t.Errorf("%q", out)
		}
	} else if out != "uid=1000(joe) gid=1000(joe) groups=1000(joe)\n" {
		t.Errorf("%q", out)
	}
	caps := sh("grep -E 'CapEff|CapBnd' /proc/self/status")
	own := run(container.ExecCreateRequest{Cmd: caps})
	if own == "" || own == run(container.ExecCreateRequest{Cmd: caps, Privileged: true}) && h.drivers().Isolation == "namespaces" {
		t.Errorf("--privileged gives nothing: %s", own)
	}
	for cmd, want := range map[string]int{"nosuch": 127, "/etc/plain": 126, "/etc": 126} {
		_, err := h.open().Exec(t.Context(), id, container.ExecCreateRequest{Cmd: []string{cmd}}, Streams{Stdout: io.Discard})
		if exitCode(err) != want {
			t.Errorf("%s: %v, code %d", cmd, err, exitCode(err))
		}
	}
}

const execClientName = "coracle-exec-client"

// execClient is a process that runs one exec and can be killed.
func execClient(args []string) int {
	w, err := backends.ParseWish(args[2])
	if err != nil {
		return 99
	}
	e, err := Open(context.Background(), Options{Root: args[0], Run: args[1], Wish: w})
	if err != nil {
		return 98
	}
	code, err := e.Exec(context.Background(), args[3], container.ExecCreateRequest{Cmd: args[4:]}, Streams{Stdout: os.Stdout})
	if err != nil {
		return 97
	}
	return code
}

// execClientKilled: the process ends with its client.
func execClientKilled(t *testing.T, h *harness, id string) {
	var wish []string
	for c, rung := range h.opt.Wish {
		wish = append(wish, string(c)+"="+rung)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Stdout: w,
		Args: append([]string{execClientName, h.opt.Root, h.opt.Run, strings.Join(wish, ","), id}, sh("echo in; exec sleep 59")...)}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
		t.Fatalf("the client has started nothing: %v", err)
	}
	sleeps := func(count string) func() bool {
		return func() bool {
			out, _, err := h.execIn(id, "ps | grep -v 'echo in' | grep -c '[s]leep 59'")
			return err == nil && out == count+"\n"
		}
	}
	// What the shell had of us is to pass to whom it executes.
	eventually(t, "the shell is replaced", sleeps("1"))
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	eventually(t, "the process ends with its client", sleeps("0"))
}

// during runs an exec that lasts, does what, and returns the exec's end.
func (h *harness) during(id string, what func()) (code int, err error) {
	started := &notice{c: make(chan struct{})}
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := h.open().Exec(context.Background(), id, container.ExecCreateRequest{Cmd: sh("echo in; sleep 58")}, Streams{Stdout: started})
		ended <- end{code, err}
	}()
	select {
	case <-started.c:
	case e := <-ended:
		return e.code, e.err
	}
	what()
	select {
	case e := <-ended:
		return e.code, e.err
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("exec hangs")
	}
}

// notice closes its channel at the first write.
type notice struct {
	once sync.Once
	c    chan struct{}
}

func (n *notice) Write(p []byte) (int, error) {
	n.once.Do(func() { close(n.c) })
	return len(p), nil
}

func execMonitorKilled(t *testing.T, h *harness, id string) {
	code, err := h.during(id, func() {
		killMonitor(t, h, id)
		// The next command sweeps what the rung without namespaces leaves.
		if info, err := h.open().Inspect(context.Background(), id, false); err != nil || info.State.Running {
			t.Errorf("%+v, %v", info.State, err)
		}
	})
	if code != 137 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	if err := h.open().Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if out, _, err := h.execIn(id, "echo again"); out != "again\n" || err != nil {
		t.Errorf("after the next start: %q, %v", out, err)
	}
}

func execStopped(t *testing.T, h *harness, id string) {
	code, err := h.during(id, func() {
		if err := h.open().Stop(context.Background(), id, "", nil); err != nil {
			t.Error(err)
		}
	})
	if code != 137 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	if info, err := h.open().Inspect(t.Context(), id, false); err != nil || info.State.ExitCode != 0 {
		t.Errorf("the container: %+v, %v", info.State, err)
	}
	if _, _, err := h.execIn(id, "true"); !isKind(err, Conflict) {
		t.Errorf("exec after the stop: %v", err)
	}
}

// writerFunc is called at each write.
type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

func execTerminal(t *testing.T, h *harness, id string) {
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	signals := make(chan os.Signal)
	var size struct {
		sync.Mutex
		rows, cols uint16
	}
	size.rows, size.cols = 33, 101
	out, begun := &bytes.Buffer{}, make(chan struct{})
	started := sync.OnceFunc(func() { close(begun) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer started()
		code, err := h.open().Exec(context.Background(), id, container.ExecCreateRequest{Cmd: sh("stty size; read x; until stty size | grep 66; do sleep 0.02; done; test -t 0 && exit 6"), Tty: true, AttachStdin: true},
			Streams{Stdin: in, Stdout: io.MultiWriter(out, writerFunc(started)), Signals: signals, Size: func() (uint16, uint16) {
				size.Lock()
				defer size.Unlock()
				return size.rows, size.cols
			}})
		if err != nil || code != 6 {
			t.Errorf("code %d, %v", code, err)
		}
	}()
	<-begun
	size.Lock()
	size.rows, size.cols = 22, 66
	size.Unlock()
	select {
	case signals <- syscall.SIGWINCH:
	case <-done:
	}
	io.WriteString(feed, "go\n")
	<-done
	feed.Close()
	if got := strings.ReplaceAll(out.String(), "\r", ""); !strings.HasPrefix(got, "33 101\n") || !strings.Contains(got, "\n22 66\n") {
		t.Errorf("%q", got)
	}
}
