package command

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"coracle/cmd/coracle/compose"
)

// dockerCLI is Docker's own command line tool: what we compare with. Parsing
// needs no daemon.
func dockerCLI(t *testing.T) func(args ...string) (out string, code int) {
	t.Helper()
	path, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("needs docker's CLI to compare with")
	}
	if to, err := filepath.EvalSymlinks(path); err == nil && filepath.Base(to) == "coracle" {
		t.Skip("needs docker's CLI to compare with: docker is coracle here")
	}
	home := t.TempDir()
	return func(args ...string) (string, int) {
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock", "HOME="+home, "COLUMNS=200")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
}

func coracle(args ...string) (out string, code int) {
	var b bytes.Buffer
	code = Run(context.Background(), Stdio{Out: &b, Err: &b}, append([]string{"coracle"}, args...))
	return b.String(), code
}

// TestRefusesAsDocker compares what is said of wrong command lines, and the
// exit codes.
func TestRefusesAsDocker(t *testing.T) {
	docker := dockerCLI(t)
	for _, line := range []string{
		"run --foo", "run --foo=1 box", "run -Z box", "run -itZ9 box", "run --name", "run -e", "run -ite", "run --rm=maybe box", "run --=x",
		"rm --foo", "rm c1 --foo", "ps -Z", "--nosuch ps", "run", "rm", "rm -f", "exec c", "stop", "kill -s", "wait", "start", "inspect", "logs",
		"logs a b", "import", "tag x", "tag x y z", "rmi", "attach", "ps extra", "version extra", "info extra", "images a b",
		"run --memory=abc box", "run -m=abc box", "run --ulimit x box", "run --mount type=foo,x box",
		"run --attach x box", "run --cpus x box", "run --shm-size x box", "run --stop-timeout x box",
		"ps -n abc", "ps --filter x", "images -f x", "stop -t abc c", "stop c -t abc", "run -d -a stdout box",
		"run --env-file /nosuch box", "run --label-file /nosuch box", "run --pull foo box", "run --cidfile /etc/passwd box",
		"run --add-host x box", "run --dns x box",
		"restart", "restart -t x c", "restart --foo c", "pause", "pause -f c", "unpause", "rename a", "rename a b c", "update", "update c",
		"update -m 5x c", "update --restart on-failure:x c", "update --restart :3 c", "update --blkio-weight x c", "update --cpus x c",
		"update --pids-limit x c", "update --foo c", "top", "stats -Z", "port", "port a b c", "container prune extra", "container prune -Z",
		"container prune --filter x", "events extra", "events -Z", "events --filter x", "system events -Z", "container stats --foo",
		"run --restart on-failure:x box", "run --rm --restart always box", "run --no-healthcheck --health-cmd x box",
		"run --health-interval xx box", "run --health-interval -1s box", "run --health-retries -1 box", "run --health-retries x box",
		"create --restart :1 box", "create --health-start-period -1s box",
		"container run --foo", "container ls -Z", "container rm", "image ls -Z", "image rm", "container inspect", "image tag x",
		"exec -Z c true", "exec --foo c true", "load --foo", "nosuch", "container nosuch", "image nosuch", "run -it box", "run -e =x box",
		"run --security-opt seccomp=/nosuch box",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Split(line, " ")
			theirs, want := docker(args...)
			ours, got := coracle(args...)
			if got != want {
				t.Errorf("exit code %d, docker's is %d\nours: %s\ndocker's: %s", got, want, ours, theirs)
			}
			if a, b := gist(ours), gist(theirs); a != b {
				t.Errorf("ours says\n%s\ndocker says\n%s", a, b)
			}
		})
	}
}

// gist is what is said, without who says it.
func gist(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	first = strings.TrimPrefix(strings.TrimPrefix(first, "docker: "), "coracle: ")
	first = strings.ReplaceAll(first, "docker", "coracle")
	return strings.TrimSpace(first)
}

// ownCommands are those that Docker's command line lacks, or that its packaging
// adds (completion).
var ownCommands = map[string]bool{"probe": true, "completion": true, "install": true, "uninstall": true,
	"matrix": true, "platform ls": true, "platform add": true, "platform rm": true}

// isOwn tells whether Docker has no such command: those by name, and groups of
// ours.
func isOwn(spelling string) bool {
	group, _, _ := strings.Cut(spelling, " ")
	return ownCommands[spelling] || group == "supervise" || group == "boot" || spelling == "net trace" || compose.Is(group) || spelling == "image verify"
}

// TestFlagsAreDockers compares the flags of each command with those that
// Docker's help lists: same names, same shorthands, same need of a value. What
// we lack must be known as lacking, so that its error says so.
func TestFlagsAreDockers(t *testing.T) {
	docker := dockerCLI(t)
	own := map[string]bool{"run --group": true, "create --group": true, "run --pidfile": true, "create --pidfile": true, "run --ready": true, "save --compress": true}
	for _, e := range verbs() {
		if isOwn(e.spellings[0]) {
			continue
		}
		help, code := docker(append(strings.Split(e.spellings[0], " "), "--help")...)
		if code != 0 {
			t.Errorf("docker %s --help: exit %d", e.spellings[0], code)
			continue
		}
		theirs := dockerFlags(help)
		v := e.make(&tool{spelling: e.spellings[0]})
		ours := map[string]bool{}
		for _, d := range describeAll(v.Flags) {
			ours[d.Name] = true
			where := e.spellings[0] + " --" + d.Name
			their, ok := theirs[d.Name]
			switch {
			case !ok && !own[where]:
				t.Errorf("%s: docker has no such flag", where)
			case ok && (their.Short != d.Short || (their.Value == "") != (d.Value == "")):
				t.Errorf("%s: ours is %q, docker's %q", where, d.Title(), their.Title())
			}
		}
		for name, d := range theirs {
			if !ours[name] && Missing(e.spellings[0], name) == "" && name != "help" {
				t.Errorf("%s: docker has %s, and we do not say why we lack it", e.spellings[0], d.Title())
			}
		}
	}
}

// TestFlagsAreComposes does the same with docker compose's commands.
func TestFlagsAreComposes(t *testing.T) {
	plugin := "../../../build/compose/docker-compose"
	if _, err := os.Stat(plugin); err != nil {
		t.Skip("needs docker compose to compare with: internal/needs/install.sh gets it")
	}
	// -i and -t of exec do nothing in docker compose, and are hidden there.
	own := map[string]bool{"compose exec --interactive": true, "compose exec --tty": true, "compose wait --any": true, "compose wait --all": true, "compose up --tied": true}
	for _, e := range verbs() {
		words := strings.Split(e.spellings[0], " ")
		if words[0] != "compose" {
			continue
		}
		out, err := exec.Command(plugin, words[1], "--help").CombinedOutput()
		if err != nil {
			t.Errorf("docker compose %s --help: %v", words[1], err)
			continue
		}
		theirs := dockerFlags(string(out))
		ours := map[string]bool{}
		for _, d := range describeAll(e.make(&tool{spelling: e.spellings[0]}).Flags) {
			ours[d.Name] = true
			where := e.spellings[0] + " --" + d.Name
			their, ok := theirs[d.Name]
			if !ok && !own[where] {
				t.Errorf("%s: docker compose has no such flag", where)
			} else if ok && (their.Short != d.Short || (their.Value == "") != (d.Value == "")) {
				t.Errorf("%s: ours is %q, docker compose's %q", where, d.Title(), their.Title())
			}
		}
		for name, d := range theirs {
			if !ours[name] && Missing(e.spellings[0], name) == "" && name != "help" {
				t.Errorf("%s: docker compose has %s", e.spellings[0], d.Title())
			}
		}
	}
}

func dockerFlags(help string) map[string]FlagDoc {
	all := map[string]FlagDoc{}
	re := regexp.MustCompile(`^\s+(?:-(\w), )?--([a-zA-Z0-9-]+)(?: (\w+))?(?:\s{2,}|$)`)
	for _, line := range strings.Split(help, "\n") {
		if m := re.FindStringSubmatch(line); m != nil {
			all[m[2]] = FlagDoc{Name: m[2], Short: m[1], Value: m[3]}
		}
	}
	return all
}

// TestSpellingsAreDockers: each spelling of a command exists in Docker too.
func TestSpellingsAreDockers(t *testing.T) {
	docker := dockerCLI(t)
	for _, e := range verbs() {
		for _, s := range e.spellings {
			if isOwn(s) {
				continue
			}
			if out, code := docker(append(strings.Split(s, " "), "--help")...); code != 0 || !strings.Contains(out, "Usage:") {
				t.Errorf("docker has no %q", s)
			}
			if out, code := coracle(append(strings.Split(s, " "), "--help")...); code != 0 || !strings.HasPrefix(out, "Usage:  coracle "+s) {
				t.Errorf("coracle %s --help: exit %d, %s", s, code, out)
			}
		}
	}
}
