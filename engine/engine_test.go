package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"coracle/backends"
	"coracle/backends/backendstest"
	"coracle/backends/isolate/stage"
	"coracle/backends/limits/limitstest"
	"coracle/engine/record"
	"coracle/image"
	"coracle/net/network/networktest"
	"coracle/probe"
	"coracle/probe/probetest"

	"github.com/moby/moby/api/types/container"
)

// TestMain lets the test binary be all that the product's binary is to itself.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case stage.Name:
		stage.Main()
	case MonitorName:
		os.Exit(MonitorMain(os.Args))
	case FileOpName:
		os.Exit(FileOpMain())
	case execClientName:
		os.Exit(execClient(os.Args[1:]))
	case upgradedName:
		os.Exit(upgraded(os.Args[1:]))
	case "coracle-foreground":
		os.Exit(foreground(os.Args[1:]))
	}
	os.Exit(networktest.Own(m.Run))
}

// testbox is a tar of static busybox with what the tests need.
func testbox(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs the program busybox (busybox-static)")
	}
	bin, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(h *tar.Header, data []byte) {
		h.Size, h.ModTime = int64(len(data)), time.Unix(1600000000, 0)
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "data", "root"} {
		put(&tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	put(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, bin)
	for _, name := range []string{"sh", "cat", "echo", "id", "ls", "sleep", "true", "false", "kill", "touch", "hostname", "ps", "stty", "mount", "readlink", "grep", "mkdir", "env", "wc", "stat", "dd", "head", "yes", "md5sum", "ip", "ifconfig", "pwd", "rm", "printf", "df", "setsid", "seq"} {
		put(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	put(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n"))
	put(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\njoe:x:1000:\n"))
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		put(&tar.Header{Name: "etc/" + f, Typeflag: tar.TypeReg, Mode: 0o644}, nil)
	}
	put(&tar.Header{Name: "etc/plain", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("plain\n"))
	put(&tar.Header{Name: "data/seed", Typeflag: tar.TypeReg, Mode: 0o600}, []byte("from the image"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// harness is an engine on directories of its own.
type harness struct {
	*Engine
	t        *testing.T
	opt      Options
	mu       sync.Mutex
	warnings []string
}

func newHarness(t *testing.T, wish string) *harness {
	t.Helper()
	backendstest.Need(t, wish, os.TempDir())
	dir, err := os.MkdirTemp("", "coracle-engine")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o711)
	w, err := backends.ParseWish(wish)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t}
	h.opt = Options{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Wish: w, Warn: h.warn}
	h.Engine = h.open()
	t.Cleanup(func() { h.close(dir) })
	if _, err := h.Images().Import(context.Background(), bytes.NewReader(testbox(t)), image.ImportOptions{Ref: "testbox"}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *harness) warn(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warnings = append(h.warnings, s)
}

func (h *harness) open() *Engine {
	h.t.Helper()
	e, err := Open(context.Background(), h.opt)
	if err != nil {
		h.t.Fatal(err)
	}
	return e
}

// close removes all containers and checks that nothing is left.
func (h *harness) close(dir string) {
	t := h.t
	list, err := h.open().List(context.Background(), ListOptions{All: true})
	if err != nil {
		t.Error(err)
	}
	for _, c := range list {
		if err := h.open().Remove(context.Background(), c.ID, true, true); err != nil {
			t.Errorf("remove %s: %v", c.ID[:12], err)
		}
	}
	for _, sub := range []string{"root/containers", "run/containers", "root/names"} {
		if left, _ := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
	if snaps, err := h.mach.Snapshots(h.drivers().Rootfs, h.drivers().Isolation); err == nil {
		if left, _ := snaps.Snapshots(); len(left) > 0 {
			t.Errorf("snapshots left: %v", left)
		}
	}
	limitstest.Unmount(h.opt.Run)
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left below %s", dir)
	}
	roots, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, r := range roots {
		if to, _ := os.Readlink(r); strings.HasPrefix(to, dir) {
			t.Errorf("%s is left in %s", r, to)
		}
	}
	if h.drivers().Isolation == "userns" && !h.mach.SingleID("userns") {
		h.mach.RemoveTree(context.Background(), &record.Container{Drivers: h.drivers()}, filepath.Join(dir, "root/fs"))
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

type wanted struct {
	name  string
	args  []string
	cfg   func(*container.Config)
	host  func(*container.HostConfig)
	stdin io.Reader
	rm    bool
}

func (h *harness) create(s wanted) string {
	h.t.Helper()
	id, err := h.tryCreate(s)
	if err != nil {
		h.t.Fatalf("create %q: %v", s.args, err)
	}
	return id
}

func (h *harness) tryCreate(s wanted) (string, error) {
	opt := CreateOptions{Name: s.name, Config: &container.Config{Image: "testbox", Cmd: s.args}, Host: &container.HostConfig{NetworkMode: "none"}}
	opt.Host.AutoRemove = s.rm
	if s.cfg != nil {
		s.cfg(opt.Config)
	}
	if s.host != nil {
		s.host(opt.Host)
	}
	id, _, err := h.Create(context.Background(), opt)
	return id, err
}

// run runs a container in the foreground: its output and exit code.
func (h *harness) run(s wanted) (stdout, stderr string, code int) {
	h.t.Helper()
	id := h.create(s)
	var out, errs bytes.Buffer
	st := Streams{Stdout: &out, Stderr: &errs}
	if s.stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			h.t.Fatal(err)
		}
		defer r.Close()
		go func() { io.Copy(w, s.stdin); w.Close() }()
		st.Stdin = r
	}
	code, err := h.Run(context.Background(), id, st)
	if err != nil {
		h.t.Fatalf("run %q: %v", s.args, err)
	}
	return out.String(), errs.String(), code
}

func sh(script string) []string { return []string{"sh", "-c", script} }

// rungs are the combinations that are forced, as the user we are.
func rungs() []string {
	if os.Geteuid() != 0 {
		return []string{
			"isolation=userns,rootfs=overlay-userns", "isolation=userns,rootfs=copy", "isolation=userns,rootfs=copy,limits=rlimits",
			"isolation=userns,rootfs=overlay-userns,entering=agent",
		}
	}
	return []string{
		"isolation=namespaces,rootfs=overlay", "isolation=namespaces,rootfs=copy", "isolation=namespaces,rootfs=overlay,limits=rlimits",
		"isolation=namespaces,rootfs=overlay,entering=agent",
		"isolation=namespaces,rootfs=copy,limits=cgroup2",
		"isolation=chroot,rootfs=overlay", "isolation=chroot,rootfs=copy", "isolation=chroot,rootfs=copy,limits=rlimits",
	}
}

func TestRungs(t *testing.T) {
	for _, wish := range rungs() {
		t.Run(wish, func(t *testing.T) {
			h := newHarness(t, wish)
			for name, f := range map[string]func(*testing.T, *harness){
				"foreground": foregroundCase, "start errors": startErrors, "detached": detached, "exec": execCase,
				"kill": killCase, "mounts": mountsCase, "crash": crash, "auto remove": autoRemove, "streams": streams,
				"readonly": readonly, "config": configCase,
				"pause": pauseCase, "policy": policyCase, "restart": restartCase, "rename": renameCase, "update": updateCase, "health": healthCase,
				"watch": watchCase, "execs": execsCase, "boot": bootCase, "boot of a group": bootGroupCase,
			} {
				t.Run(name, func(t *testing.T) { f(t, &harness{Engine: h.open(), t: t, opt: h.opt}) })
			}
		})
	}
}

// TestOrdinaryUser runs the rungs of an ordinary user: root runs this binary
// again as one.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become an ordinary user")
	}
	probetest.Need(t, probe.NSUser)
	dir, err := os.MkdirTemp("", "coracle-engine-user")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o777)
	binary := filepath.Join(dir, "engine.test")
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(binary, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^(TestRungs|TestExec|TestReplacedBinary)$", "-test.v", "-test.timeout=240s")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 42019, Gid: 42019}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestRungs/") {
		t.Errorf("nothing ran:\n%s", out)
	}
}

func foregroundCase(t *testing.T, h *harness) {
	out, errs, code := h.run(wanted{args: sh("echo out; echo err >&2; exit 7"), rm: true})
	if out != "out\n" || errs != "err\n" || code != 7 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if _, _, code := h.run(wanted{args: sh("kill -9 $$"), rm: true}); code != 137 && h.drivers().Isolation == "chroot" {
		t.Errorf("killed: %d", code)
	}
	out, _, _ = h.run(wanted{args: []string{"cat"}, stdin: strings.NewReader("through\n"), rm: true, cfg: func(c *container.Config) { c.OpenStdin, c.StdinOnce = true, true }})
	if out != "through\n" {
		t.Errorf("stdin: %q", out)
	}
	out, _, _ = h.run(wanted{args: []string{"cat"}, rm: true})
	if out != "" {
		t.Errorf("no stdin: %q", out)
	}
}

func startErrors(t *testing.T, h *harness) {
	for arg, want := range map[string]struct {
		code int
		text string
	}{
		"nosuch": {127, `exec: "nosuch": executable file not found in $PATH`}, "/etc/plain": {126, `exec: "/etc/plain": permission denied`},
		"/bin/nosuch": {127, "no such file or directory"}, "/etc": {126, "is a directory"},
	} {
		id := h.create(wanted{args: []string{arg}})
		for _, start := range []func() error{
			func() error { return h.open().Start(context.Background(), id) },
			func() error { _, err := h.open().Run(context.Background(), id, Streams{}); return err },
		} {
			err := start()
			if err == nil || !strings.Contains(err.Error(), want.text) || exitCode(err) != want.code {
				t.Errorf("%s: %v, code %d", arg, err, exitCode(err))
			}
		}
		info, err := h.open().Inspect(context.Background(), id, false)
		if err != nil || info.State.ExitCode != want.code || info.State.Error == "" || info.State.Status != "created" {
			t.Errorf("%s: %+v %v", arg, info.State, err)
		}
		id = h.create(wanted{args: []string{arg}, rm: true})
		if err := h.open().Start(context.Background(), id); err == nil {
			t.Error("started")
		}
		if _, err := h.open().Inspect(context.Background(), id, false); !isKind(err, NotFound) {
			t.Errorf("--rm: %v", err)
		}
	}
}

func detached(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.create(wanted{name: "det", args: sh("echo hello; echo bad >&2; trap 'exit 3' TERM; while :; do sleep 0.05; done")})
	if err := h.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	e := h.open()
	if err := e.Start(ctx, "det"); !isKind(err, NotModified) {
		t.Errorf("second start: %v", err)
	}
	if err := e.Remove(ctx, "det", false, false); !isKind(err, Conflict) || !strings.Contains(err.Error(), "container is running: stop the container before removing or force remove") {
		t.Errorf("remove: %v", err)
	}
	if _, err := h.tryCreate(wanted{name: "det", args: sh("true")}); !isKind(err, Conflict) || !strings.Contains(err.Error(), `The container name "/det" is already in use by container "`+id+`"`) {
		t.Errorf("name taken: %v", err)
	}
	list, err := e.List(ctx, ListOptions{Filters: map[string][]string{"id": {id[:12]}}})
	if err != nil || len(list) != 1 || list[0].State != "running" || !strings.HasPrefix(list[0].Status, "Up ") {
		t.Errorf("%+v %v", list, err)
	}
	h.waitLog(id, "hello\nbad\n")
	waited := make(chan int, 1)
	go func() { code, _ := h.open().Wait(ctx, id); waited <- code }()
	follow := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		h.open().Logs(ctx, id, LogOptions{Tail: -1, Follow: true}, &b, &b)
		follow <- b.String()
	}()
	time.Sleep(50 * time.Millisecond)
	if err := e.Stop(ctx, id, "", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-waited:
		if code != 3 {
			t.Errorf("wait: %d", code)
		}
	case <-time.After(5 * time.Second):
		t.Error("wait hangs")
	}
	select {
	case text := <-follow:
		if len(text) != len("hello\nbad\n") {
			t.Errorf("%q", text)
		}
	case <-time.After(5 * time.Second):
		t.Error("logs -f hangs")
	}
	info, _ := e.Inspect(ctx, id, true)
	if info.State.ExitCode != 3 || info.State.Status != "exited" || info.State.Pid != 0 {
		t.Errorf("%+v", info.State)
	}
	if err := e.Stop(ctx, id, "", nil); !isKind(err, NotModified) {
		t.Errorf("second stop: %v", err)
	}
	if err := e.Start(ctx, id); err != nil {
		t.Errorf("start again: %v", err)
	}
	if err := e.Remove(ctx, id[:8], true, true); err != nil {
		t.Error(err)
	}
	if _, err := e.Inspect(ctx, "det", false); !isKind(err, NotFound) || err.Error() != "No such container: det" {
		t.Error(err)
	}
}

func (h *harness) waitLog(id, want string) {
	h.t.Helper()
	var got string
	for range 100 {
		var out, errs bytes.Buffer
		if err := h.open().Logs(context.Background(), id, LogOptions{Tail: -1}, &out, &errs); err != nil {
			h.t.Fatal(err)
		}
		if got = out.String() + errs.String(); got == want {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.t.Errorf("log %q, want %q", got, want)
}

func execCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.create(wanted{args: []string{"sleep", "60"}, cfg: func(c *container.Config) { c.Env = []string{"A=1"}; c.WorkingDir = "/tmp" }})
	if _, err := h.Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}}, Streams{Stdout: io.Discard}); !isKind(err, Conflict) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("not running: %v", err)
	}
	if err := h.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	e := h.open()
	var out, errs bytes.Buffer
	code, err := e.Exec(ctx, id, container.ExecCreateRequest{Cmd: sh("echo $A $B; pwd; echo e >&2; exit 4"), Env: []string{"B=2"}}, Streams{Stdout: &out, Stderr: &errs})
	if err != nil || code != 4 || out.String() != "1 2\n/tmp\n" || errs.String() != "e\n" {
		t.Errorf("%d %v %q %q", code, err, out.String(), errs.String())
	}
	_, err = e.Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"nosuch"}}, Streams{Stdout: &out})
	if exitCode(err) != 127 || !strings.Contains(err.Error(), `exec: "nosuch": executable file not found in $PATH`) {
		t.Errorf("%v", err)
	}
	if _, err := e.Exec(ctx, id, container.ExecCreateRequest{Cmd: sh("sleep 0.1; touch /tmp/done; sleep 60")}, Streams{}); err != nil {
		t.Errorf("detached: %v", err)
	}
	out.Reset()
	for range 100 {
		out.Reset()
		e.Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"ls", "/tmp"}}, Streams{Stdout: &out})
		if out.String() == "done\n" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if out.String() != "done\n" {
		t.Errorf("detached exec: %q", out.String())
	}
	zero := 0
	if err := e.Stop(ctx, id, "", &zero); err != nil {
		t.Error(err)
	}
}

func killCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.create(wanted{args: sh("trap 'echo usr' USR1; while :; do sleep 0.05; done")})
	if err := h.Kill(ctx, id, ""); !isKind(err, Conflict) {
		t.Error(err)
	}
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := h.open().Kill(ctx, id, "SIGUSR1"); err != nil {
		t.Error(err)
	}
	h.waitLog(id, "usr\n")
	if err := h.open().Kill(ctx, id, "NOSUCH"); !isKind(err, Invalid) {
		t.Error(err)
	}
	begin := time.Now()
	one := 1
	if err := h.open().Stop(ctx, id, "", &one); err != nil {
		t.Error(err)
	}
	// A first process without a handler of TERM does not get it (pid_namespaces(7)).
	first := h.drivers().Isolation != "chroot" && h.drivers().Entering != "agent"
	if d := time.Since(begin); d > 5*time.Second || first && d < time.Second {
		t.Errorf("stop took %v", d)
	}
	info, err := h.open().Inspect(ctx, id, false)
	if err != nil || first != (info.State.ExitCode == 137) {
		t.Errorf("%+v %v", info.State, err)
	}
}

func mountsCase(t *testing.T, h *harness) {
	host, err := os.MkdirTemp("", "coracle-bind")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(host)
	os.WriteFile(host+"/f", []byte("host"), 0o644)
	out, errs, code := h.run(wanted{rm: true, args: sh("cat /b/f /data/seed; touch /b/g || echo ro; ls /made | wc -l; touch /tmp/x && df /tmp | grep -c tmpfs; cat /etc/hostname"),
		cfg: func(c *container.Config) { c.Hostname = "boat"; c.Volumes = map[string]struct{}{"/data": {}} },
		host: func(hc *container.HostConfig) {
			hc.Binds = []string{host + ":/b:ro", host + "/new/dir:/made", "vol:/named"}
			hc.Tmpfs = map[string]string{"/tmp": "size=1m"}
		}})
	if out != "hostfrom the imagero\n0\n1\nboat\n" || code != 0 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if left := h.volumesLeft(); len(left) != 1 || left[0] != "vol" {
		t.Errorf("volumes: %q", left)
	}
	h.run(wanted{rm: true, args: sh("echo kept >/named/file"), host: func(hc *container.HostConfig) { hc.Binds = []string{"vol:/named"} }})
	if out, _, _ := h.run(wanted{rm: true, args: sh("cat /named/file"), host: func(hc *container.HostConfig) { hc.Binds = []string{"vol:/named:ro"} }}); out != "kept\n" {
		t.Errorf("named volume: %q", out)
	}
	for bad, want := range map[string]string{"relative/path:/x": "includes invalid characters", "/a:b": "must be absolute", "/a:/": "destination can't be '/'", "/a:/b:nosuch": "invalid mode"} {
		if _, err := h.tryCreate(wanted{args: sh("true"), host: func(hc *container.HostConfig) { hc.Binds = []string{bad} }}); !isKind(err, Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// crash: the monitor is killed; the next command sees that, and cleans.
func crash(t *testing.T, h *harness) {
	ctx := context.Background()
	for i, wait := range []time.Duration{0, 3, 20, 60} {
		id := h.create(wanted{args: sh("sleep 61 & sleep 62 & exec sleep 63")})
		done := make(chan error, 1)
		go func() { done <- h.open().Start(ctx, id) }()
		if i > 0 {
			time.Sleep(wait * time.Millisecond)
		} else {
			<-done
		}
		killMonitor(t, h, id)
		if i > 0 {
			<-done
		}
		info, err := h.open().Inspect(ctx, id, false)
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Running || i == 0 && (info.State.Status != "exited" || info.State.ExitCode != 137) {
			t.Errorf("after %v: %+v", wait, info.State)
		}
		if c, err := h.store.Load(id); err != nil || c.Alive() {
			t.Error("alive", err)
		}
		if d, err := h.mach.Limits(h.drivers().Limits); err == nil && h.drivers().Limits != "rlimits" {
			if g, err := d.Open(id, ""); err == nil {
				t.Errorf("its group is left: %v", g.Paths())
			}
		}
		if err := h.open().Remove(ctx, id, false, true); err != nil {
			t.Error(err)
		}
	}
}

// killMonitor kills the monitor of a container, found by its lock's holder.
func killMonitor(t *testing.T, h *harness, id string) {
	t.Helper()
	c, err := h.store.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	// A start takes a second where system calls are withheld.
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if s, err := c.State(); err == nil && s.Monitor > 0 && s.Dirty && s.Monitor != os.Getpid() {
			syscall.Kill(s.Monitor, syscall.SIGKILL)
			c.Await()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func autoRemove(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.create(wanted{args: sh("exec sleep 60"), rm: true})
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	code := make(chan int, 1)
	go func() { n, _ := h.open().Wait(ctx, id); code <- n }()
	time.Sleep(50 * time.Millisecond)
	if err := h.open().Kill(ctx, id, "KILL"); err != nil {
		t.Error(err)
	}
	if n := <-code; n != 137 {
		t.Errorf("wait on --rm: %d", n)
	}
	if _, err := h.open().Inspect(ctx, id, false); !isKind(err, NotFound) {
		t.Errorf("still there: %v", err)
	}
	id = h.create(wanted{args: sh("exec sleep 60"), rm: true})
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	killMonitor(t, h, id)
	if list, err := h.open().List(ctx, ListOptions{All: true, Filters: map[string][]string{"id": {id}}}); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	id = h.create(wanted{args: sh("exec sleep 60"), rm: true})
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := h.open().Remove(ctx, id, true, false); err != nil {
		t.Errorf("rm -f of --rm: %v", err)
	}
}

func streams(t *testing.T, h *harness) {
	const mb = 16
	id := h.create(wanted{args: sh(fmt.Sprintf("dd if=/dev/zero bs=1M count=%d 2>/dev/null", mb)), rm: true, host: func(hc *container.HostConfig) { hc.LogConfig.Type = "none" }})
	var n counter
	code, err := h.Run(context.Background(), id, Streams{Stdout: &n})
	if err != nil || code != 0 || n != mb<<20 {
		t.Errorf("%d %v: %d bytes", code, err, n)
	}
	// Whoever reads our output leaves: so does the program.
	id = h.create(wanted{args: []string{"yes"}, rm: true})
	r, w, _ := os.Pipe()
	go func() {
		io.ReadFull(r, make([]byte, 100))
		r.Close()
	}()
	done := make(chan int, 1)
	go func() { code, _ := h.Run(context.Background(), id, Streams{Stdout: w}); done <- code }()
	select {
	case code := <-done:
		if code != 141 && code != 1 {
			t.Errorf("yes | head: %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("yes | head hangs")
		h.open().Kill(context.Background(), id, "")
	}
	w.Close()
	// A terminal.
	id = h.create(wanted{args: sh("stty size; echo err >&2"), rm: true, cfg: func(c *container.Config) { c.Tty = true }})
	var b bytes.Buffer
	code, err = h.Run(context.Background(), id, Streams{Stdout: &b, Size: func() (uint16, uint16) { return 33, 101 }})
	if got := strings.ReplaceAll(b.String(), "\r", ""); err != nil || code != 0 || got != "33 101\nerr\n" {
		t.Errorf("terminal: %d %v %q", code, err, got)
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func readonly(t *testing.T, h *harness) {
	out, errs, code := h.run(wanted{args: sh("touch /x 2>/dev/null && echo writable; cat /etc/plain; touch /dev/shm/y && echo shm"), rm: true,
		host: func(hc *container.HostConfig) { hc.ReadonlyRootfs = true }})
	if out != "plain\nshm\n" || code != 0 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	id := h.create(wanted{args: sh("true"), host: func(hc *container.HostConfig) { hc.ReadonlyRootfs = true }})
	c, err := h.store.Load(id)
	if err != nil || !c.View {
		t.Errorf("a read-only container has a snapshot of its own (%v)", err)
	}
}

func configCase(t *testing.T, h *harness) {
	out, errs, code := h.run(wanted{rm: true, args: []string{"-c", "id -u; echo $FOO; pwd; hostname"},
		cfg: func(c *container.Config) {
			c.Entrypoint, c.Env, c.WorkingDir, c.Hostname = []string{"sh"}, []string{"FOO=bar"}, "/etc", "boat"
		}})
	want := "0\nbar\n/etc\nboat\n"
	if h.drivers().Isolation == "chroot" {
		want = "0\nbar\n/etc\n" + hostName() + "\n"
	}
	if out != want || code != 0 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if h.drivers().Isolation != "chroot" {
		out, _, _ := h.run(wanted{rm: true, args: sh("ip link 2>/dev/null | grep -c '^[0-9]*: lo:.*UP'; ip link | grep -c ^[0-9]")})
		if !strings.HasPrefix(out, "1\n") {
			t.Errorf("loopback: %q", out)
		}
	}
}

// TestNoDevices: without a devices group neither the container nor what enters
// it can make a device node.
func TestNoDevices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a user namespace cannot make device nodes anyway")
	}
	h := newHarness(t, "isolation=namespaces,limits=rlimits")
	const try = "grep CapBnd /proc/self/status"
	mknod := func(line string) bool {
		var caps uint64
		fmt.Sscanf(strings.TrimSpace(line), "CapBnd:\t%x", &caps)
		return caps == 0 || caps&(1<<27) != 0
	}
	if out, _, _ := h.run(wanted{args: sh(try), rm: true}); mknod(out) {
		t.Errorf("the container can: %s", out)
	}
	id := h.create(wanted{args: []string{"sleep", "60"}, rm: true})
	if err := h.open().Start(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := h.open().Exec(context.Background(), id, container.ExecCreateRequest{Cmd: sh(try)}, Streams{Stdout: &out}); err != nil || mknod(out.String()) {
		t.Errorf("exec can: %s %v", out.String(), err)
	}
}
