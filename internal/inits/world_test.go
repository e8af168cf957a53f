package inits

import (
	"bytes"
	"flag"
	"fmt"
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

// insideEnv says that the test runs in its world.
const insideEnv = "CORACLE_INITS_INSIDE"

// rounds is how many times a service is stopped and started.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("CORACLE_INIT_ROUNDS")); err == nil {
		return n
	}
	return 5
}

// binary is the product.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	binary = os.Getenv("CORACLE")
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "coracle-inits")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if binary == "" {
			binary = filepath.Join(dir, "coracle")
			build := exec.Command("go", "build", "-tags", "urfave_cli_no_docs", "-o", binary, "coracle/cmd/coracle")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "%v: %s", err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

// needs skips where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: an init starts containers as root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

// inWorld runs the test once more in namespaces of its own, where process 1 is a
// shell that reaps, and where what is written below /etc, /var and /run is gone
// with the test. It returns true in there, and false outside when all is over.
func inWorld(t *testing.T, root string) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Files of the world lie on a tmpfs that only it sees.
	script := `set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 world "$WORLD"
mkdir -p "$WORLD/new" "$WORLD/state" "$WORLD/bin"
cp "$PRODUCT" "$WORLD/bin/coracle"
cp "$SELF" "$WORLD/bin/test"
if [ -n "$TREE" ]; then
	mkdir "$WORLD/root"
	mount --bind "$WORLD/root" "$WORLD/root"
	tar -xf "$TREE" -C "$WORLD/root" --exclude='./dev/*'
	mount --rbind /dev "$WORLD/root/dev"
	mount --rbind /sys "$WORLD/root/sys"
	mkdir -p "$WORLD/root$WORLD" "$WORLD/root$OUT"
	mount --bind "$OUT" "$WORLD/root$OUT"
	mount -t proc proc "$WORLD/root/proc"
	for d in bin state; do
		mkdir -p "$WORLD/root$WORLD/$d"
		mount --bind "$WORLD/$d" "$WORLD/root$WORLD/$d"
	done
	mount -t tmpfs run "$WORLD/root/run"
	# Not chroot: a container's root is put over one that is mounted.
	cd "$WORLD/root"
	pivot_root . mnt
	umount -l /mnt
	cd /
else
	for d in etc var; do
		mkdir -p "$WORLD/up/$d" "$WORLD/work/$d"
		mount -t overlay -o "lowerdir=/$d,upperdir=$WORLD/up/$d,workdir=$WORLD/work/$d" "$d" "/$d"
	done
	mount -t tmpfs run /run
	mkdir -p /run/lock
fi
"$@" || exit $?
exit 0`
	cmd := exec.Command("unshare", "-mpf", "--mount-proc", "--kill-child", "sh", "-c", script, "sh",
		filepath.Join(dir, "bin/test"), "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=15m")
	out := transcripts(t)
	cmd.Env = append(os.Environ(), insideEnv+"=1", "WORLD="+dir, "TREE="+root, "PRODUCT="+binary, "SELF="+self, "OUT="+out,
		"CORACLE="+filepath.Join(dir, "bin/coracle"), "CORACLE_ROOT="+dir+"/state/root", "CORACLE_RUN="+dir+"/state/run",
		"PATH="+dir+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR="+dir+"/state")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	} else if testing.Verbose() {
		t.Logf("%s", said)
	}
	return false
}

// transcripts is the directory that takes what was said.
func transcripts(t *testing.T) string {
	if dir := os.Getenv("CORACLE_TRANSCRIPTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

// scene is one test in its world.
type scene struct {
	t     *testing.T
	said  bytes.Buffer // the transcript
	start []string     // the native words, without the unit's name
	stop  []string
}

// run runs a command that must succeed and puts it into the transcript.
func (s *scene) run(args ...string) string {
	s.t.Helper()
	return s.ends(0, args...)
}

// ends runs a command that must end with that code.
func (s *scene) ends(code int, args ...string) string {
	s.t.Helper()
	out, got := s.try(args...)
	fmt.Fprintf(&s.said, "# %s\n%s", strings.Join(args, " "), out)
	if got != code {
		s.t.Fatalf("%s: exit code %d, want %d\n%s\n%s\n%s", strings.Join(args, " "), got, code, out, s.said.String(), s.processes())
	}
	if code != 0 {
		fmt.Fprintf(&s.said, "(exit code %d)\n", code)
	}
	return strings.TrimSpace(out)
}

// try runs a command, without a word in the transcript.
func (s *scene) try(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	// Not a pipe: what a supervisor leaves running may keep that open.
	f, err := os.CreateTemp("", "out")
	if err != nil {
		s.t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	late := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Run(); cmd.ProcessState == nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	out, _ := os.ReadFile(f.Name())
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *scene) quiet(args ...string) string {
	s.t.Helper()
	out, code := s.try(args...)
	if code != 0 {
		s.t.Fatalf("%s: exit code %d\n%s\n%s", strings.Join(args, " "), code, out, s.processes())
	}
	return strings.TrimSpace(out)
}

// until waits for a condition, at most a minute.
func (s *scene) until(what string, cond func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if cond() {
			return
		}
	}
	logs, _ := s.try("sh", "-c", "tail -n 5 /var/log/coracle-*.log /var/log/coracle-*/current 2>/dev/null")
	s.t.Fatalf("not within a minute: %s\n%s\n%s\n%s", what, s.said.String(), logs, s.processes())
}

// program is what the containers run: it says what it hears.
const program = `trap "echo asked to end; exit 0" TERM; trap "echo asked to reload" HUP; echo up; while :; do sleep 0.1; done`

// create makes the two containers; web comes after db.
func (s *scene) create() {
	s.t.Helper()
	for _, name := range []string{"db", "web"} {
		s.quiet("coracle", "create", "--network", "none", "--name", name, "box", "sh", "-c", program)
	}
}

// pid is that of the container's first process, "0" without.
func (s *scene) pid(name string) string {
	out, _ := s.try("coracle", "inspect", "--format", "{{.State.Pid}}", name)
	return strings.TrimSpace(out)
}

func (s *scene) state(name string) string {
	out, _ := s.try("coracle", "inspect", "--format", "{{.State.Status}}", name)
	return strings.TrimSpace(out)
}

func (s *scene) runs(names ...string) {
	s.t.Helper()
	for _, n := range names {
		s.until(n+" runs", func() bool { return s.state(n) == "running" && s.ups(n) > 0 })
	}
}

func (s *scene) rests(names ...string) {
	s.t.Helper()
	for _, n := range names {
		s.until(n+" has ended", func() bool { return s.state(n) == "exited" })
	}
}

// parent is a process's parent.
func parent(pid string) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1]
}

func command(pid string) string {
	line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	return strings.TrimSpace(strings.NewReplacer("\x00", " ", "\n", " ").Replace(string(line)))
}

// processes lists all that run here.
func (s *scene) processes() string {
	var b strings.Builder
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range pids {
		pid := filepath.Base(dir)
		if line := command(pid); line != "" {
			fmt.Fprintf(&b, "%6s %6s %s\n", pid, parent(pid), line)
		}
	}
	return b.String()
}

// ours knows coracle in the foreground and what runs in the containers.
var ours = regexp.MustCompile(`supervise run|asked to end|^sleep 0\.1`)

// strays are processes of ours that run although nothing should but the
// containers that are named.
func (s *scene) strays(alive ...string) []string {
	var all []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		line := command(pid)
		if pid == "1" || !ours.MatchString(line) || accounted(pid, alive) {
			continue
		}
		all = append(all, pid+" "+line)
	}
	return all
}

// accounted tells whether pid is the monitor of one of the containers, or below
// it.
func accounted(pid string, names []string) bool {
	for ; pid != "" && pid != "0" && pid != "1"; pid = parent(pid) {
		line := command(pid)
		for _, n := range names {
			if strings.Contains(line, "supervise run") && strings.HasSuffix(line, " "+n) {
				return true
			}
		}
	}
	return false
}

// parenthood: the container's first process is a child of coracle, and coracle
// of the supervisor.
func (s *scene) parenthood(name, supervisor string) {
	s.t.Helper()
	monitor := parent(s.pid(name))
	if line := command(monitor); !strings.Contains(line, "supervise run") {
		s.t.Errorf("the container's parent is not coracle: %q\n%s", line, s.processes())
	}
	if line := command(parent(monitor)); !strings.Contains(line, supervisor) {
		s.t.Errorf("coracle's parent is not %s: %q\n%s", supervisor, line, s.processes())
	}
}

// crashes: killed, coracle takes the container with it, and both come again; and
// so they do when the program ends.
func (s *scene) crashes(name string) {
	s.t.Helper()
	for _, victim := range []string{"coracle", "program"} {
		s.runs(name)
		ups := s.ups(name)
		first := s.pid(name)
		pid := first
		if victim == "coracle" {
			pid = parent(first)
		}
		fmt.Fprintf(&s.said, "# kill -KILL %s        # %s\n", pid, map[string]string{"coracle": "coracle itself", "program": "the container's program"}[victim])
		n, _ := strconv.Atoi(pid)
		if n < 2 {
			s.t.Fatalf("no process of %s: %q\n%s", name, pid, s.processes())
		}
		if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
		s.until("the old container is gone", func() bool { return !strings.Contains(command(first), "asked to end") })
		s.until("it comes again", func() bool { p := s.pid(name); return p != "0" && p != "" && p != first })
		s.until("it is up again", func() bool { return s.ups(name) > ups })
	}
}

// ups counts how often the program has come so far that it hears signals.
func (s *scene) ups(name string) int {
	out, _ := s.try("coracle", "logs", name)
	return strings.Count(out, "up\n")
}

// again stops and starts a service many times.
func (s *scene) again(name string) {
	s.t.Helper()
	began := time.Now()
	for i := range rounds() {
		s.quiet(append(s.stop, "coracle-"+name)...)
		s.rests(name)
		if left := s.stray("db"); left != nil {
			s.t.Fatalf("round %d: left running: %q\n%s", i, left, s.processes())
		}
		s.quiet(append(s.start, "coracle-"+name)...)
		s.runs(name)
	}
	s.t.Logf("%d rounds of stop and start in %v", rounds(), time.Since(began).Round(time.Millisecond))
}

// stray gives what ends a moment to be gone.
func (s *scene) stray(alive ...string) []string {
	var left []string
	for range 40 {
		if left = s.strays(alive...); len(left) == 0 {
			return nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	return left
}

// removed takes all away and looks for what is left.
func (s *scene) removed(names ...string) {
	s.t.Helper()
	s.run(append([]string{"coracle", "supervise", "remove"}, names...)...)
	if left := s.stray(); left != nil {
		s.t.Errorf("left running: %q\n%s", left, s.processes())
	}
	s.ends(4, append([]string{"coracle", "supervise", "status", "-q"}, names...)...)
	for _, dir := range []string{"/etc/sv", "/etc/init.d", "/etc/service", "/etc/supervisor/conf.d", "/etc/runlevels/default", "/etc/systemd/system", "/etc/systemd/system/multi-user.target.wants", "/etc/rc2.d"} {
		left, _ := filepath.Glob(dir + "/*coracle-*")
		if len(left) > 0 {
			s.t.Errorf("files are left: %v", left)
		}
	}
	for _, n := range names {
		s.quiet("coracle", "rm", "-f", n)
	}
}

// keep writes the transcript, without what differs from run to run.
func (s *scene) keep(name string) {
	dir := os.Getenv("OUT")
	if dir == "" {
		return
	}
	text := strings.ReplaceAll(s.said.String(), os.Getenv("WORLD")+"/bin/", "/usr/bin/")
	text = strings.ReplaceAll(text, " --root="+os.Getenv("CORACLE_ROOT"), "")
	text = strings.ReplaceAll(text, " --run="+os.Getenv("CORACLE_RUN"), "")
	if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(text), 0o644); err != nil {
		s.t.Error(err)
	}
}

// daemon starts a supervisor that ends with the test.
func (s *scene) daemon(args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(s.t.TempDir(), "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Minute):
			cmd.Process.Kill()
			s.t.Errorf("%v does not end", args)
		}
		log.Close()
	})
	return cmd
}

// shop is a group: web starts when db is well and migrate has ended.
const shop = `services:
  db: &service
    image: box
    network_mode: none
    init: false
    command: ["sh", "-c", 'trap "echo asked to end; exit 0" TERM; trap "echo asked to reload" HUP; echo up; while :; do sleep 0.1; done']
    healthcheck: {test: ["CMD", "true"], interval: 200ms}
  migrate:
    image: box
    network_mode: none
    command: ["echo", "migrated"]
    depends_on: {db: {condition: service_healthy}}
  web:
    <<: *service
    healthcheck: {disable: true}
    depends_on: {db: {condition: service_healthy}, migrate: {condition: service_completed_successfully}}
`

// shop makes the group's containers.
func (s *scene) shop() {
	s.t.Helper()
	if err := os.WriteFile("/etc/shop.yaml", []byte(shop), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.quiet("coracle", "compose", "-f", "/etc/shop.yaml", "-p", "shop", "create")
}

// group puts a whole group under the supervisor, as one unit, and takes it away.
func (s *scene) group() {
	s.t.Helper()
	s.shop()
	s.run("coracle", "supervise", "install", "--now", "--group", "shop")
	s.opens()
	s.crew()
}

// opens waits for the group, which comes in its order.
func (s *scene) opens() {
	s.t.Helper()
	s.runs("shop-db-1", "shop-web-1")
	s.inOrder("shop-db-1", "shop-migrate-1")
	s.inOrder("shop-migrate-1", "shop-web-1")
	s.until("the supervisor counts it as up", func() bool {
		_, code := s.try("coracle", "supervise", "status", "-q", "--group", "shop")
		return code == 0
	})
	s.run("coracle", "supervise", "status", "--group", "shop")
}

// crew kills a group's process, which comes again, and takes the group away.
func (s *scene) crew() {
	t := s.t
	t.Helper()
	first := s.pid("shop-web-1")
	crew := parent(parent(first))
	if line := command(crew); !strings.Contains(line, "supervise run") || !strings.Contains(line, "--group") {
		t.Errorf("the parent of the container's parent is %q\n%s", line, s.processes())
	}
	fmt.Fprintf(&s.said, "# kill -KILL %s        # the process of the group\n", crew)
	n, _ := strconv.Atoi(crew)
	if n < 2 {
		t.Fatalf("no process of the group: %s", s.processes())
	}
	syscall.Kill(n, syscall.SIGKILL)
	s.until("the containers go with it", func() bool { return !strings.Contains(command(first), "asked to end") })
	s.until("they come again", func() bool { p := s.pid("shop-web-1"); return p != "0" && p != "" && p != first })
	s.runs("shop-db-1", "shop-web-1")
	s.closes()
	s.run("coracle", "supervise", "remove", "--group", "shop")
	s.ends(4, "coracle", "supervise", "status", "-q", "--group", "shop")
	s.quiet("coracle", "compose", "-f", "/etc/shop.yaml", "-p", "shop", "down")
}

// closes stops the group's unit: the last that was started is the first to end.
func (s *scene) closes() {
	t := s.t
	t.Helper()
	s.run(append(s.stop, "coracle-group-shop")...)
	s.rests("shop-db-1", "shop-web-1")
	if left := s.stray(); left != nil {
		t.Errorf("left running: %q\n%s", left, s.processes())
	}
	var ends [2]string
	for i, name := range []string{"shop-web-1", "shop-db-1"} {
		ends[i] = s.quiet("coracle", "inspect", "--format", "{{.State.FinishedAt}}", name)
	}
	if ends[0] >= ends[1] {
		t.Errorf("web has ended at %s, and db at %s", ends[0], ends[1])
	}
}
