package inits

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// allEnv has the tests that take minutes run, too.
const allEnv = "CORACLE_INITS"

// inMachine boots a Debian root filesystem, in which that init is process 1, in
// QEMU, and runs the test in there once it has come up. It returns true in there.
func inMachine(t *testing.T, name string, prepare func(root string)) bool {
	t.Helper()
	if os.Getenv("TESTKERNEL") == "vm" {
		return true
	}
	if only := os.Getenv(allEnv); only != "all" && only != name {
		t.Skipf("needs minutes: %s=%s has it run, or make test-inits", allEnv, name)
	}
	needs(t, "qemu-system-x86_64", "unshare")
	from := tree(t, name)
	root := filepath.Join(t.TempDir(), "root")
	os.Mkdir(root, 0o755)
	shell(t, "", "tar", "-xf", from, "-C", root, "--exclude=./dev/*", "--exclude=./var/lib/apt/*", "--exclude=./var/cache/*", "--exclude=./usr/share/zoneinfo/*")
	shell(t, "", "cp", "-L", binary, filepath.Join(root, "usr/bin/coracle"))
	prepare(root)
	wrapper := filepath.Join(t.TempDir(), "testkernel")
	build := exec.Command("go", "build", "-o", wrapper, "coracle/testkernel")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(wrapper, "-kernel", "bookworm", "-initrd-dir", root, "-handover", "/sbin/init", "-m", "2560", "-timeout", "25m",
		self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60m")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	said, err := cmd.CombinedOutput()
	if dir := os.Getenv("CORACLE_TRANSCRIPTS"); dir != "" {
		if m := regexp.MustCompile(`(?s)<<<transcript\n(.*?)transcript>>>`).FindSubmatch(said); m != nil {
			os.WriteFile(filepath.Join(dir, name+"-vm.txt"), m[1], 0o644)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	} else if testing.Verbose() {
		t.Logf("%s", said)
	}
	return false
}

func shell(t *testing.T, root string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if root != "" {
		// As the machine will see it; what is mounted goes with the command.
		script := `mount --make-rprivate /; mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; mount -t tmpfs run "$0/run"; exec chroot "$0" "$@"`
		cmd = exec.Command("unshare", append([]string{"-mpf", "sh", "-c", script, root}, args...)...)
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CORACLE_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// containers makes db and web in the image. The machine has other control groups
// than this one: none are asked for.
func containers(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, n := range names {
		shell(t, root, "/usr/bin/coracle", "--backend", "limits=rlimits", "create", "--network", "none", "--name", n, "box", "sh", "-c", program)
	}
}

// group makes the shop in the image, and has it started at boot.
func group(t *testing.T, root string, init ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, "etc/shop.yaml"), []byte(shop), 0o644); err != nil {
		t.Fatal(err)
	}
	shell(t, root, "/usr/bin/coracle", "--backend", "limits=rlimits", "compose", "-f", "/etc/shop.yaml", "-p", "shop", "create")
	shell(t, "", append([]string{binary, "supervise", "install", "--root", root, "--group", "shop"}, init...)...)
}

// told prints the transcript for the machine's outside.
func (s *scene) told() {
	os.Stdout.WriteString("<<<transcript\n" + s.said.String() + "transcript>>>\n")
}

func TestSystemd(t *testing.T) {
	if !inMachine(t, "systemd", func(root string) {
		containers(t, root, "db", "web")
		install := func(args ...string) {
			shell(t, "", append([]string{binary, "supervise", "install", "--root", root}, args...)...)
		}
		install("db")
		install("--after", "coracle-db", "web")
		group(t, root)
		unit := "[Unit]\nDescription=the test\nAfter=basic.target\n[Service]\nExecStart=/init report\nStandardOutput=tty\nTTYPath=/dev/console\n[Install]\nWantedBy=multi-user.target\n"
		dir := filepath.Join(root, "etc/systemd/system")
		os.WriteFile(filepath.Join(dir, "testkernel.service"), []byte(unit), 0o644)
		os.Symlink("../testkernel.service", filepath.Join(dir, "multi-user.target.wants/testkernel.service"))
	}) {
		return
	}
	s := &scene{
		t: t,
		// systemd refuses more than five starts in ten seconds.
		start: []string{"sh", "-c", `systemctl reset-failed "$0" && exec systemctl start "$0"`}, stop: []string{"systemctl", "stop"},
	}
	defer s.told()
	// At boot, in order.
	s.runs("db", "web")
	s.until("systemd counts both as up", func() bool {
		_, code := s.try("systemctl", "is-active", "coracle-db", "coracle-web")
		return code == 0
	})
	s.inOrder("db", "web")
	s.opens()
	s.run("systemctl", "stop", "coracle-group-shop")
	s.run("coracle", "supervise", "status", "db", "web")
	s.run("systemctl", "show", "-p", "Type,NotifyAccess,KillMode,Delegate,ActiveState,StatusText", "coracle-web")
	if main, want := s.quiet("systemctl", "show", "-p", "MainPID", "--value", "coracle-web"), parent(s.pid("web")); main != want {
		t.Errorf("the main process is %s, and the container's parent %s", main, want)
	}
	s.parenthood("web", "init")
	s.crashes("web")
	s.until("it counts as up", func() bool { _, code := s.try("systemctl", "is-active", "coracle-web"); return code == 0 })
	s.run("systemctl", "reload", "coracle-web")
	s.until("the container hears it", func() bool {
		out, _ := s.try("journalctl", "-q", "-o", "cat", "-u", "coracle-web")
		return strings.Contains(out, "asked to reload")
	})
	s.run("systemctl", "stop", "coracle-web")
	s.rests("web")
	s.run("journalctl", "-q", "-o", "cat", "-n", "4", "-u", "coracle-web")
	if out := s.ends(3, "systemctl", "is-active", "coracle-web"); out != "inactive" {
		t.Errorf("a stop as asked for counts as %s", out)
	}
	s.ends(3, "coracle", "supervise", "status", "web")
	s.run("systemctl", "start", "coracle-web")
	if got := s.state("web"); got != "running" {
		t.Errorf("systemctl start came back, and the container is %s", got)
	}
	s.watched()
	s.again("web")
	s.quiet("systemctl", "stop", "coracle-web", "coracle-db")
	s.run("systemctl", "start", "coracle-group-shop")
	s.opens()
	s.crew()
	s.removed("web", "db")
	if out, _ := s.try("systemctl", "list-units", "--all", "--plain", "--no-legend", "coracle-*"); out != "" {
		t.Errorf("systemd still knows %s", out)
	}
}

// inOrder compares when containers were started.
func (s *scene) inOrder(first, second string) {
	s.t.Helper()
	var at [2]time.Time
	for i, n := range []string{first, second} {
		var err error
		if at[i], err = time.Parse(time.RFC3339Nano, s.quiet("coracle", "inspect", "--format", "{{.State.StartedAt}}", n)); err != nil {
			s.t.Fatal(err)
		}
	}
	if !at[0].Before(at[1]) {
		s.t.Errorf("%s was started at %v, %s at %v", first, at[0], second, at[1])
	}
}

// watched: a container made in the machine, with control groups below the
// unit's; a coracle that hangs is killed by the watchdog and comes again.
func (s *scene) watched() {
	t := s.t
	s.quiet("coracle", "create", "--network", "none", "--name", "third", "-m", "64m", "box", "sh", "-c", program)
	s.run("coracle", "supervise", "install", "--now", "--watchdog", "5s", "third")
	first := s.pid("third")
	main := s.quiet("systemctl", "show", "-p", "MainPID", "--value", "coracle-third")
	s.said.WriteString("# kill -STOP " + main + "        # coracle hangs\n")
	send(t, main, syscall.SIGSTOP)
	s.until("the watchdog bites", func() bool { p := s.pid("third"); return p != "0" && p != "" && p != first })
	if got := s.run("systemctl", "show", "-p", "NRestarts", "--value", "coracle-third"); got == "0" {
		t.Error("systemd has not started it again")
	}
	// One that cannot start is a failure at once.
	s.quiet("coracle", "create", "--network", "none", "--name", "broken", "box", "/no/such/program")
	if out, code := s.try("coracle", "supervise", "install", "--now", "broken"); code == 0 {
		t.Errorf("it is up: %s", out)
	}
	s.quiet("coracle", "supervise", "remove", "broken", "third")
	s.quiet("coracle", "rm", "-f", "broken", "third")
}

// send signals a process; kill is in no package of a smallest Debian.
func send(t *testing.T, pid string, sig syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err == nil && n > 1 {
		err = syscall.Kill(n, sig)
	}
	if err != nil || n <= 1 {
		t.Fatalf("signal %q: %v", pid, err)
	}
}

func TestSysVinit(t *testing.T) {
	if !inMachine(t, "sysv", func(root string) {
		containers(t, root, "db", "web", "tab")
		install := func(args ...string) {
			shell(t, "", append([]string{binary, "supervise", "install", "--root", root}, args...)...)
		}
		install("--init", "sysv", "db")
		install("--init", "sysv", "--after", "coracle-db", "web")
		install("--init", "inittab", "tab")
		group(t, root, "--init", "sysv")
		f, err := os.OpenFile(filepath.Join(root, "etc/inittab"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("test:2345:once:/init report >/dev/console 2>&1\n")
		f.Close()
	}) {
		return
	}
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	s := &scene{t: t, start: []string{"sh", "-c", `exec service "$0" start`}, stop: []string{"sh", "-c", `exec service "$0" stop`}}
	defer s.told()
	s.runs("db", "web", "tab")
	s.inOrder("db", "web")
	s.opens()
	s.run("service", "coracle-group-shop", "stop")
	s.run("coracle", "supervise", "status", "db", "web", "tab")
	s.run("service", "coracle-web", "status")
	// The line of inittab: init itself starts it again.
	s.parenthood("tab", "init")
	s.crashes("tab")
	s.run("coracle", "supervise", "remove", "tab")
	s.rests("tab")
	s.quiet("coracle", "rm", "tab")
	// The script: it is not started again, unless the container says so.
	first := s.pid("web")
	monitor := parent(first)
	s.said.WriteString("# kill -KILL " + monitor + "        # coracle itself\n")
	send(t, monitor, syscall.SIGKILL)
	s.until("the container goes with it", func() bool { return !strings.Contains(command(first), "asked to end") })
	s.ends(1, "service", "coracle-web", "status")
	s.run("service", "coracle-web", "start")
	s.runs("web")
	s.run("service", "coracle-web", "reload")
	logged(s, "/var/log/coracle-web.log", "asked to reload")
	s.run("service", "coracle-web", "stop")
	s.rests("web")
	s.ends(3, "service", "coracle-web", "status")
	s.run("service", "coracle-web", "start")
	s.again("web")
	s.quiet("service", "coracle-web", "stop")
	s.quiet("service", "coracle-db", "stop")
	s.run("service", "coracle-group-shop", "start")
	s.opens()
	s.closes()
	s.run("coracle", "supervise", "remove", "--group", "shop")
	s.quiet("coracle", "compose", "-f", "/etc/shop.yaml", "-p", "shop", "down")
	s.removed("web", "db")
}
