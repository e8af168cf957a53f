package engine

import (
	"bytes"
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// TestAttach: stdin, output, signals and the exit code by the monitor's socket,
// and leaving without ending the container.
func TestAttach(t *testing.T) {
	h := newHarness(t, "")
	ctx := context.Background()
	id := h.create(wanted{args: sh("trap 'echo term; exit 9' TERM; read x; echo got $x; while :; do sleep 0.05; done"), cfg: func(c *container.Config) { c.OpenStdin = true }})
	if _, _, err := h.Attach(ctx, id, Streams{}); !isKind(err, Conflict) {
		t.Errorf("stopped: %v", err)
	}
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	// One that leaves by its keys.
	r, w, _ := os.Pipe()
	w.Write([]byte("\x10\x11"))
	if _, left, err := h.open().Attach(ctx, id, Streams{Stdin: r, DetachKeys: []byte{16, 17}}); !left || err != nil {
		t.Errorf("detach: %v %v", left, err)
	}
	r.Close()
	w.Close()
	r, w, _ = os.Pipe()
	defer r.Close()
	defer w.Close()
	signals := make(chan os.Signal, 1)
	var out bytes.Buffer
	type result struct {
		code int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		code, _, err := h.open().Attach(ctx, id, Streams{Stdin: r, Stdout: &out, Stderr: &out, Signals: signals, DetachKeys: []byte{16, 17}})
		done <- result{code, err}
	}()
	time.Sleep(50 * time.Millisecond)
	w.Write([]byte("fish\n"))
	h.waitLog(id, "got fish\n")
	signals <- syscall.SIGTERM
	select {
	case got := <-done:
		if got.code != 9 || got.err != nil || out.String() != "got fish\nterm\n" {
			t.Errorf("%d %v %q", got.code, got.err, out.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("attach hangs")
	}
}

// TestMonitorTerminated: a monitor that gets SIGTERM (the machine goes down)
// stops its container and writes how it ended.
func TestMonitorTerminated(t *testing.T) {
	h := newHarness(t, "")
	ctx := context.Background()
	id := h.create(wanted{args: sh("trap 'exit 6' TERM; while :; do sleep 0.05; done")})
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	c, err := h.store.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := c.State()
	syscall.Kill(s.Monitor, syscall.SIGTERM)
	if code, err := h.open().Wait(ctx, id); code != 6 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	info, err := h.open().Inspect(ctx, id, false)
	if err != nil || info.State.ExitCode != 6 || info.State.Running {
		t.Errorf("%+v %v", info.State, err)
	}
}

// TestOOM: a container that the kernel kills for memory says so.
func TestOOM(t *testing.T) {
	h := newHarness(t, "")
	if !strings.HasPrefix(h.drivers().Limits, "cgroup") {
		t.Skip("needs memory control groups")
	}
	id := h.create(wanted{args: sh("x=$(yes | head -c 100000000); echo survived"), host: func(hc *container.HostConfig) { hc.Memory = 12 << 20; hc.MemorySwap = 12 << 20 }})
	var out bytes.Buffer
	code, err := h.Run(context.Background(), id, Streams{Stdout: &out, Stderr: &out})
	if err != nil || code != 137 {
		t.Errorf("%d %v %s", code, err, out.String())
	}
	info, err := h.open().Inspect(context.Background(), id, false)
	if err != nil || !info.State.OOMKilled {
		t.Errorf("%+v %v; %v", info.State, err, h.warnings)
	}
}

// TestStrict: what a rung cannot honour is an error when asked for, and a
// warning else.
func TestStrict(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for isolation=chroot")
	}
	h := newHarness(t, "isolation=chroot,rootfs=copy,limits=rlimits")
	opt := func() CreateOptions {
		return CreateOptions{Config: &container.Config{Image: "testbox", Cmd: sh("true")}, Host: &container.HostConfig{NetworkMode: "none"}}
	}
	_, warnings, err := h.Create(context.Background(), opt())
	if err != nil || len(warnings) == 0 || !strings.Contains(warnings[0], "--network none") {
		t.Errorf("%v %v", warnings, err)
	}
	h.opt.Strict = true
	if _, _, err := h.open().Create(context.Background(), opt()); !isKind(err, Unavailable) {
		t.Errorf("strict: %v", err)
	}
	o := opt()
	o.Host.NetworkMode, o.Host.Memory = "host", 64<<20
	e := h.open()
	id, _, err := e.Create(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(context.Background(), id, Streams{}); !isKind(err, Unavailable) || !strings.Contains(err.Error(), "--memory") {
		t.Errorf("strict with a limit that is not held: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	h := newHarness(t, "")
	for want, change := range map[string]func(*CreateOptions){
		"No such image: nosuch:latest":                          func(o *CreateOptions) { o.Config.Image, o.Pull = "nosuch", "never" },
		"Invalid container name (b@d)":                          func(o *CreateOptions) { o.Name = "b@d" },
		"network mynet not found":                               func(o *CreateOptions) { o.Host.NetworkMode = "mynet" },
		"unknown policy 'often'":                                func(o *CreateOptions) { o.Host.RestartPolicy.Name = "often" },
		"Minimum memory limit allowed is 6MB":                   func(o *CreateOptions) { o.Host.Memory = 1 << 20 },
		"needs to be an absolute path":                          func(o *CreateOptions) { o.Config.WorkingDir = "x" },
		"range of CPUs is from 0.01 to":                         func(o *CreateOptions) { o.Host.NanoCPUs = 10_000e9 },
		"invalid mount path: 'rel' mount path must be absolute": func(o *CreateOptions) { o.Host.Tmpfs = map[string]string{"rel": ""} },
		"destination can't be '/'":                              func(o *CreateOptions) { o.Host.Tmpfs = map[string]string{"/x/..": ""} },
		"invalid signal: NOSUCH":                                func(o *CreateOptions) { o.Config.StopSignal = "NOSUCH" },
		`plugin "nosuch" not found`:                             func(o *CreateOptions) { o.Host.LogConfig.Type = "nosuch" },
		"CAP_NOSUCH":                                            func(o *CreateOptions) { o.Host.CapAdd = []string{"NOSUCH"} },
		"no command specified":                                  func(o *CreateOptions) { o.Config.Cmd = nil },
	} {
		o := CreateOptions{Config: &container.Config{Image: "testbox", Cmd: sh("true")}, Host: &container.HostConfig{}}
		change(&o)
		_, _, err := h.Create(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
