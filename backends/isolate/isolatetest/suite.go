// Package isolatetest is the conformance suite of isolation drivers: each driver
// runs all of it, on a small root filesystem of static busybox.
package isolatetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/isolate"
	"coracle/backends/isolate/stage"
	"coracle/probe"
	"coracle/probe/probetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Harness is a driver under test.
type Harness struct {
	Driver isolate.Driver
	// PIDNamespace: the container's first process is 1 inside.
	PIDNamespace bool
	// Agent: the first process is an agent, and the program its child.
	Agent bool
	// Enters names what the driver needs for Enter.
	Enters []probe.Feature
	// Direct counts the processes that have entered without a second stage; nil
	// where the driver has no such way.
	Direct func() int64
	// UserNS: devices are bound, and the user may be the only one mapped.
	UserNS bool
}

// Main is for TestMain: it lets the test binary be the second stage.
func Main(m *testing.M, stages map[string]func()) {
	if f, ok := stages[os.Args[0]]; ok {
		f()
	}
	os.Exit(m.Run())
}

// box is one container of a test.
type box struct {
	t    *testing.T
	h    Harness
	dir  string
	spec *specs.Spec
	b    *isolate.Bundle
}

// Root makes a root filesystem of busybox below a temporary directory.
func Root(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs the program busybox (busybox-static)")
	}
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "data"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/busybox", data, 0o755)
	for _, name := range []string{"sh", "cat", "echo", "id", "ls", "sleep", "true", "kill", "touch", "hostname", "ps", "tty", "stty", "mount", "readlink", "grep", "mkdir", "chroot", "test", "env", "wc", "stat"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n"), 0o644)
	write("etc/group", []byte("root:x:0:\njoe:x:1000:\nmore:x:2000:joe\n"), 0o644)
	write("bin/text", []byte("not a program"), 0o755)
	write("etc/plain", []byte("plain"), 0o644)
	return root
}

func newBox(t *testing.T, h Harness) *box {
	t.Helper()
	root := Root(t)
	dir := t.TempDir()
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_KILL", "CAP_SYS_CHROOT"}
	spec := &specs.Spec{
		Root: &specs.Root{Path: root},
		Process: &specs.Process{
			Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		},
		Linux: &specs.Linux{MaskedPaths: []string{"/proc/filesystems", "/proc/tty", "/no/such"}, ReadonlyPaths: []string{"/proc/sys", "/no/such"}},
	}
	for _, d := range []struct {
		name  string
		minor int64
	}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}} {
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{Path: "/dev/" + d.name, Type: "c", Major: 1, Minor: d.minor})
	}
	if h.PIDNamespace {
		for _, ns := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.MountNamespace} {
			spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: ns})
		}
		spec.Hostname = "boat"
	}
	return &box{t, h, dir, spec, &isolate.Bundle{ID: "test", Spec: spec, RunDir: dir, Loopback: h.PIDNamespace, Agent: h.Agent}}
}

// start runs args and sweeps at the end of the test.
func (x *box) start(args ...string) (isolate.Process, error) {
	x.spec.Process.Args = args
	p, err := x.h.Driver.Start(context.Background(), x.b)
	x.t.Cleanup(func() {
		if err := x.h.Driver.Sweep(context.Background(), x.target(p)); err != nil {
			x.t.Errorf("sweep: %v", err)
		}
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		if strings.Contains(string(mounts), x.spec.Root.Path) {
			x.t.Errorf("mounts are left below %s", x.spec.Root.Path)
		}
	})
	return p, err
}

func (x *box) target(p isolate.Process) isolate.Target {
	t := isolate.Target{ID: "test", Agent: x.h.Agent, Spec: x.spec, RunDir: x.dir}
	if p != nil {
		t.PID, t.StartTime = p.PID(), p.StartTime()
	}
	return t
}

// run runs args to the end: its output and wait status.
func (x *box) run(args ...string) (string, syscall.WaitStatus) {
	x.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		x.t.Fatal(err)
	}
	defer r.Close()
	x.b.IO.Stdout, x.b.IO.Stderr = w, w
	p, err := x.start(args...)
	w.Close()
	if err != nil {
		x.t.Fatalf("start %q: %v", args, err)
	}
	out, _ := io.ReadAll(r)
	ws, err := p.Wait()
	if err != nil {
		x.t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), ws
}

func (x *box) is(want string, args ...string) {
	x.t.Helper()
	if got, ws := x.run(args...); got != want || ws.ExitStatus() != 0 {
		x.t.Errorf("%q: %q (status %d), want %q", args, got, ws.ExitStatus(), want)
	}
}

// Run runs the suite.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	runAll(t, newHarness, map[string]func(*testing.T, Harness){
		"exit code": exitCode, "cannot execute": cannotExecute, "streams": streams, "descriptors": descriptors,
		"confinement": confinement, "mounts": mounts, "symlinks": symlinks, "users": users, "workdir": workdir,
		"init": initReaps, "terminal": terminal, "sweep": sweep, "dies with the monitor": diesWithParent,
		"shared root": sharedRoot, "propagation": propagation, "cancel": cancel, "ignored signals": ignoredSignals,
	})
	Entering(t, newHarness)
}

// Entering runs the tests of Enter alone.
func Entering(t *testing.T, newHarness func(t *testing.T) Harness) {
	runAll(t, newHarness, entering())
}

func runAll(t *testing.T, newHarness func(t *testing.T) Harness, tests map[string]func(*testing.T, Harness)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, newHarness(t)) })
	}
}

// entering are the tests of Enter.
func entering() map[string]func(*testing.T, Harness) {
	return map[string]func(*testing.T, Harness){
		"enter": enter, "enter many": enterMany, "enter as": enterAs, "enter wrong": enterWrong,
		"enter signals": enterSignals, "enter terminal": enterTerminal, "enter directly": enterDirectly, "enter beside a trap": enterTrap,
	}
}

func exitCode(t *testing.T, h Harness) {
	if _, ws := newBox(t, h).run("sh", "-c", "exit 7"); ws.ExitStatus() != 7 {
		t.Errorf("status %d", ws.ExitStatus())
	}
	if h.PIDNamespace {
		if !h.Agent {
			newBox(t, h).is("1", "sh", "-c", "echo $$")
		}
		newBox(t, h).is("boat", "hostname")
	}
	x := newBox(t, h)
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGKILL)
	if ws, _ := p.Wait(); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("status %#x after SIGKILL", ws)
	}
}

// ignoredSignals: what the caller ignores, the program does not.
func ignoredSignals(t *testing.T, h Harness) {
	list := []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP}
	signal.Ignore(list...)
	defer signal.Reset(list...)
	newBox(t, h).is("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000", "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
}

func cannotExecute(t *testing.T, h Harness) {
	for arg, want := range map[string]syscall.Errno{
		"none": syscall.ENOENT, "/bin/none": syscall.ENOENT, "/etc/plain": syscall.EACCES,
		"/bin/text": syscall.ENOEXEC, "/etc": syscall.EISDIR, "": syscall.ENOENT,
	} {
		_, err := newBox(t, h).start(arg)
		var exec *isolate.ExecError
		if !errors.As(err, &exec) || exec.Errno != want {
			t.Errorf("%q: %v, want %v", arg, err, want)
		}
	}
	x := newBox(t, h)
	x.spec.Mounts = append(x.spec.Mounts, specs.Mount{Destination: "/x", Type: "nofs", Source: "nofs"})
	_, err := x.start("true")
	var stage *isolate.StageError
	if !errors.As(err, &stage) || stage.Errno != syscall.ENODEV {
		t.Errorf("unknown filesystem: %v", err)
	}
}

func streams(t *testing.T, h Harness) {
	x := newBox(t, h)
	in, feed, _ := os.Pipe()
	x.b.IO.Stdin = in
	mib := 64
	if testing.Short() {
		mib = 4 // emulated machines; still many times a pipe
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), mib<<20/16)
	go func() { feed.Write(data); feed.Close() }()
	got, _ := x.run("wc", "-c")
	in.Close()
	if got != itoa(mib<<20) {
		t.Errorf("%d MiB in, %s bytes arrived", mib, got)
	}
}

func descriptors(t *testing.T, h Harness) {
	secret, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	// As careless as a parent can be.
	syscall.Syscall(syscall.SYS_FCNTL, secret.Fd(), syscall.F_SETFD, 0)
	got, _ := newBox(t, h).run("sh", "-c", "exec ls /proc/self/fd")
	if f := strings.Fields(got); len(f) != 4 { // 0 1 2 and ls's own
		t.Errorf("descriptors in the container: %v", f)
	}
}

func confinement(t *testing.T, h Harness) {
	got, _ := newBox(t, h).run("grep", "-E", "Cap(Eff|Bnd)", "/proc/self/status")
	want := "00000000000400fb"
	if !h.PIDNamespace {
		want = "00000000000000fb" // CAP_SYS_CHROOT leads out of a chroot
	}
	for _, line := range strings.Split(got, "\n") {
		if !strings.HasSuffix(line, want) {
			t.Errorf("%s, want %s", line, want)
		}
	}
	if got, ws := newBox(t, h).run("sh", "-c", "cat /proc/filesystems | wc -c; ls /proc/tty; echo 1 >/proc/sys/kernel/panic"); ws.ExitStatus() == 0 || !strings.HasPrefix(got, "0\n") {
		t.Errorf("masked and read-only paths: %q", got)
	}
	x := newBox(t, h)
	x.spec.Root.Readonly = true
	if !x.privateOrMounted() {
		return
	}
	if got, ws := x.run("touch", "/new"); ws.ExitStatus() == 0 || !strings.Contains(got, "Read-only") {
		t.Errorf("read-only root: %q", got)
	}
}

// privateOrMounted binds the root on itself where a driver without mount
// namespaces needs a mount to make read-only.
func (x *box) privateOrMounted() bool {
	x.b.RootMounts = []specs.Mount{{Source: x.spec.Root.Path, Type: "bind", Options: []string{"bind"}}}
	return true
}

func mounts(t *testing.T, h Harness) {
	host := t.TempDir()
	os.WriteFile(filepath.Join(host, "f"), []byte("from the host"), 0o644)
	os.Symlink(host, host+"-link")
	socket, err := net.Listen("unix", filepath.Join(host, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Cleanup(func() { os.Remove(host + "-link") })
	x := newBox(t, h)
	x.spec.Mounts = append(x.spec.Mounts,
		specs.Mount{Destination: "/data", Type: "bind", Source: host + "-link", Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/etc/one", Type: "bind", Source: filepath.Join(host, "f"), Options: []string{"bind"}},
		specs.Mount{Destination: "/etc/socket", Type: "bind", Source: filepath.Join(host, "s"), Options: []string{"rbind", "rprivate", "nosuid"}},
		specs.Mount{Destination: "/scratch/deep", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "noexec"}})
	got, _ := x.run("sh", "-c", "cat /data/f; cat /etc/one; touch /data/g 2>/dev/null || echo denied; touch /scratch/deep/x && echo made; test -S /etc/socket && echo socket")
	if want := "from the hostfrom the hostdenied\nmade\nsocket"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	x = newBox(t, h)
	x.spec.Mounts = append(x.spec.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: "/no/such/source"})
	if _, err := x.start("true"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing bind source: %v", err)
	}
}

// symlinks: an image whose directories are links to the host must not bring a
// mount point, a file or a directory into being there.
func symlinks(t *testing.T, h Harness) {
	victim := t.TempDir()
	x := newBox(t, h)
	root := x.spec.Root.Path
	up := strings.Repeat("../", 20)
	os.Symlink(victim, filepath.Join(root, "abs"))
	os.Symlink(up+victim[1:], filepath.Join(root, "rel"))
	for _, dest := range []string{"/abs/a", "/rel/b", "/../../.." + victim + "/c", "/abs"} {
		x.spec.Mounts = append(x.spec.Mounts, specs.Mount{Destination: dest, Type: "tmpfs", Source: "tmpfs"})
	}
	x.spec.Process.Cwd = "/rel/cwd"
	p, err := x.start("true")
	if err == nil {
		p.Wait()
	}
	if left, _ := os.ReadDir(victim); len(left) > 0 {
		t.Errorf("made on the host: %v", left)
	}
}

func users(t *testing.T, h Harness) {
	if !h.UserNS {
		for user, want := range map[string]string{
			"joe": "uid=1000(joe) gid=1000(joe) groups=1000(joe),2000(more)", "1000:0": "uid=1000(joe) gid=0(root) groups=0(root)",
			"4000000": "uid=4000000 gid=0(root) groups=0(root)",
		} {
			x := newBox(t, h)
			x.b.User = user
			x.is(want, "id")
		}
		x := newBox(t, h)
		x.b.User = "joe"
		x.is("/home/joe", "sh", "-c", "echo $HOME")
	}
	x := newBox(t, h)
	x.b.User = "nosuch"
	if _, err := x.start("id"); err == nil {
		t.Error("an unknown user is accepted")
	}
	// A single-ID map refuses setgroups, so there are no groups to print.
	if got, _ := newBox(t, h).run("id"); !strings.HasPrefix(got, "uid=0(root) gid=0(root)") {
		t.Errorf("root: %q", got)
	}
}

func workdir(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.spec.Process.Cwd = "/made/for/it"
	x.is("/made/for/it", "sh", "-c", "pwd")
	for fd := 3; fd < 12; fd++ {
		x := newBox(t, h)
		x.spec.Process.Cwd = "/proc/self/fd/" + string(rune('0'+fd%10))
		if p, err := x.start("sh", "-c", "cat ../../../../../etc/shadow"); err == nil {
			if ws, _ := p.Wait(); ws.ExitStatus() == 0 {
				t.Errorf("descriptor %d leads to the host", fd)
			}
		}
	}
}

func initReaps(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.b.Init = true
	if _, ws := x.run("sh", "-c", "exit 9"); ws.ExitStatus() != 9 {
		t.Errorf("status %d through init", ws.ExitStatus())
	}
	x = newBox(t, h)
	x.b.Init = true
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	// The init may not have installed its handlers yet.
	time.Sleep(50 * time.Millisecond)
	p.Signal(syscall.SIGTERM)
	if ws, _ := p.Wait(); ws.ExitStatus() != 143 {
		t.Errorf("status %#x after SIGTERM through init", ws)
	}
}

func enter(t *testing.T, h Harness) {
	probetest.Need(t, h.Enters...)
	x := newBox(t, h)
	x.spec.Process.Env = append(x.spec.Process.Env, "MARK=1")
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	enter := func(args ...string) (string, error) {
		out, _, err := x.enter(p, nil, args...)
		return out, err
	}
	got, err := enter("sh", "-c", "readlink /proc/self/root; cat /etc/plain; id -u")
	if err != nil || got != "/\nplain0" {
		t.Errorf("enter: %q, %v", got, err)
	}
	if h.PIDNamespace {
		if got, err := enter("hostname"); got != "boat" || err != nil {
			t.Errorf("hostname: %q %v", got, err)
		}
		first := "sleep"
		if h.Agent {
			first = stage.Name
		}
		if got, err := enter("sh", "-c", "cat /proc/1/cmdline"); !strings.HasPrefix(got, first) || err != nil {
			t.Errorf("process 1: %q %v", got, err)
		}
	}
	_, err = enter("none")
	var exec *isolate.ExecError
	if !errors.As(err, &exec) || exec.Errno != syscall.ENOENT {
		t.Errorf("enter with an unknown program: %v", err)
	}
	want := 1
	if h.Agent {
		want = 2
	}
	pids, err := h.Driver.Processes(x.target(p))
	if err != nil || len(pids) != want || pids[0] != p.PID() {
		t.Errorf("processes: %v %v, want %d of %d", pids, err, want, p.PID())
	}
}

func terminal(t *testing.T, h Harness) {
	x := newBox(t, h)
	x.b.IO = isolate.IO{Terminal: true, Rows: 33, Cols: 101}
	p, err := x.start("sh", "-c", "stty size; tty")
	if err != nil {
		t.Fatal(err)
	}
	if p.Console() == nil {
		t.Fatal("no console")
	}
	defer p.Console().Close()
	out, _ := io.ReadAll(p.Console()) // EIO at the end
	p.Wait()
	if got := strings.ReplaceAll(string(out), "\r", ""); got != "33 101\n/dev/pts/0\n" {
		t.Errorf("%q", got)
	}
}

func sweep(t *testing.T, h Harness) {
	x := newBox(t, h)
	p, err := x.start("sh", "-c", "sleep 61 & sleep 62 & sh -c 'sleep 63 & exit' ; exec sleep 64")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	done := make(chan struct{})
	go func() { p.Wait(); close(done) }()
	if err := h.Driver.Sweep(context.Background(), x.target(p)); err != nil {
		t.Fatal(err)
	}
	<-done
	all, _ := filepath.Glob("/proc/[0-9]*/root")
	for _, link := range all {
		if to, _ := os.Readlink(link); strings.HasPrefix(to, x.spec.Root.Path) {
			t.Errorf("left: %s", link)
		}
	}
	if err := h.Driver.Sweep(context.Background(), x.target(p)); err != nil {
		t.Errorf("second sweep: %v", err)
	}
}

// diesWithParent: see Child.
func diesWithParent(t *testing.T, h Harness) {
	x := newBox(t, h)
	p, err := x.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { p.Signal(syscall.SIGKILL); p.Wait() }()
	status, err := os.ReadFile("/proc/" + itoa(p.PID()) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	// The forking thread must still be there while many others end.
	for range 50 {
		done := make(chan struct{})
		go func() { lockAndEnd(); close(done) }()
		<-done
	}
	time.Sleep(50 * time.Millisecond)
	if err := p.Signal(0); err != nil {
		t.Errorf("the container died with a thread: %v\n%s", err, status)
	}
}

// sharedRoot: two containers on one read-only tree; a sweep of the one leaves
// the other.
func sharedRoot(t *testing.T, h Harness) {
	a := newBox(t, h)
	tree := a.spec.Root.Path
	b := newBox(t, h)
	for _, x := range []*box{a, b} {
		x.spec.Root = &specs.Root{Path: t.TempDir()}
		x.b.RootMounts = []specs.Mount{{Source: tree, Type: "bind", Options: []string{"bind", "ro"}}}
	}
	pa, err := a.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	pb, err := b.start("sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	go pa.Wait()
	if err := h.Driver.Sweep(context.Background(), a.target(pa)); err != nil {
		t.Fatal(err)
	}
	if err := pb.Signal(0); err != nil {
		t.Errorf("the sweep of one container killed another: %v", err)
	}
	pb.Signal(syscall.SIGKILL)
	if ws, _ := pb.Wait(); ws.Signal() != syscall.SIGKILL {
		t.Errorf("status %#x", ws)
	}
}

func cancel(t *testing.T, h Harness) {
	x := newBox(t, h)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	x.spec.Process.Args = []string{"sleep", "60"}
	if p, err := h.Driver.Start(ctx, x.b); err == nil {
		p.Signal(syscall.SIGKILL)
		p.Wait()
		t.Error("a cancelled start started")
	}
	if err := h.Driver.Sweep(context.Background(), x.target(nil)); err != nil {
		t.Errorf("sweep after a failed start: %v", err)
	}
}
