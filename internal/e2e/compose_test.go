package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"coracle/group/model"
	"coracle/probe"
	"coracle/probe/probetest"

	"golang.org/x/sys/unix"
)

// scene is one Compose file of testdata/compose, brought up and looked at.
type scene struct {
	dir  string
	args []string // of up, besides -d
	// states are the containers that there are, without the project's name:
	// "running", or "exited" and the exit code.
	states map[string]string
	logs   map[string]string // what a service's log holds, at last
	// restarts is how often its containers crash before they stay as states says.
	restarts int
	only     string // "services": it needs their tree; "ids": of several users; "calls", "no_new_privs", "joins": of newer kernels
	then     func(p *played)
}

// played is a scene while it is played.
type played struct {
	*machine
	scene
	file []string // the words before the command
}

// compose runs a command of the scene's project.
func (p *played) compose(args ...string) []string {
	return append(slices.Clone(p.file), args...)
}

func scenes() []scene {
	up := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			m[n] = "running"
		}
		return m
	}
	return []scene{
		{dir: "plain", states: up("db-1", "app-1", "front-1"), logs: map[string]string{"app": "app hello"}, then: plainAgain},
		{dir: "migration", states: map[string]string{"migrate-1": "exited 0", "app-1": "running"}, logs: map[string]string{"app": "migrated"}},
		{dir: "scaled", states: up("queue-1", "worker-1", "worker-2", "worker-3", "worker-4", "worker-5"), then: scaledDown},
		{dir: "secrets", states: up("app-1"), logs: map[string]string{"app": "s3cret\n|tok-123|workers = 4\n|welcome to here\n|-r--r-----"}},
		{dir: "profiles", states: up("app-1"), then: profilesOn},
		{dir: "extends", states: up("web-1", "api-1", "mailer-1"), logs: map[string]string{"web": "web info web", "api": "web info api"}},
		{dir: "override", states: up("app-1"), then: overridden},
		{dir: "volumes", states: up("db-1"), logs: map[string]string{"db": "1"}, then: volumesStay},
		{dir: "restart", states: up("flaky-1"), restarts: 2, logs: map[string]string{"flaky": "run 3"}},
		{dir: "health", states: up("db-1", "web-1"), logs: map[string]string{"web": "up"}, then: restartedAlone},
		{dir: "limits", states: up("old-1", "new-1"), logs: map[string]string{"new": "512"}},
		{dir: "process", states: up("app-1"), logs: map[string]string{"app": "1000\n|/tmp\n"}, only: "ids no_new_privs"},
		{dir: "envfile", states: up("app-1"), logs: map[string]string{"app": "file service through"}},
		{dir: "anchors", states: up("one-1", "two-1")},
		{dir: "networks", states: up("proxy-1", "app-1", "db-1"), then: isolated},
		{dir: "shared", states: up("app-1", "sidecar-1")},
		{dir: "hooks", states: up("app-1"), then: hooksRan},
		{dir: "links", states: up("db-1", "app-1")},
		{dir: "ports", states: up("web-1")},
		{dir: "optional", states: map[string]string{"app-1": "running", "warm-1": "exited 4"}},
		{dir: "logging", states: up("talker-1"), logs: map[string]string{"talker": "out 5|err 5"}},
		{dir: "rolling", states: up("web-1", "web-2", "web-3", "web-4"), then: rolledOn},
		{dir: "include", states: up("db-1", "web-1"), then: included,
			logs: map[string]string{"web": "web asks db\n|made for e2e-include", "db": "db of size large from db.env"}},
		{dir: "stack", states: up("main-1", "beside-1"), logs: map[string]string{"main": "0 77"}, only: "ids joins", then: stacked},
		{dir: "tagged", states: up("app-1"), logs: map[string]string{"app": "A=base|C=added"}, then: takenBack},
		{dir: "naming", states: up("e2e-own-container")},
		{dir: "postgres", states: map[string]string{"db-1": "running", "init-1": "exited 0", "app-1": "running"},
			logs: map[string]string{"app": "42"}, only: "services ids calls"},
		{dir: "redis", states: up("redis-1", "worker-1", "worker-2", "worker-3", "worker-4", "worker-5"), only: "services"},
		{dir: "nginx", states: up("backend-1", "backend-2", "backend-3", "proxy-1"), only: "services calls", then: balanced},
	}
}

// composeRungs are the stacks that every file runs on.
func composeRungs() []rung {
	return []rung{
		{name: "namespaces+bridge", backend: "isolation=namespaces,rootfs=overlay,wiring=bridge"},
		{name: "user+netstack", backend: "isolation=userns,wiring=netstack", uid: ordinary},
		{name: "chroot+copy+hostports", backend: "isolation=chroot,rootfs=copy,wiring=hostports", fs: "tmpfs"},
	}
}

const servicesTree = "services.tar"

func TestComposeFiles(t *testing.T) {
	needRoot(t)
	for _, r := range composeRungs() {
		t.Run(r.name, func(t *testing.T) {
			dir := ""
			if r.fs != "" {
				dir = loopFS(t, r.fs, 3000)
			}
			m := newMachine(t, dir, r.backend, r.uid)
			m.settled()
			tree := filepath.Join(filepath.Dir(debian), servicesTree)
			_, err := os.Stat(tree)
			services := err == nil
			if services {
				m.ok("import", tree, "services")
			}
			ids := r.uid == 0 || m.try("run", "--rm", "--user", "1000", "box", "true").code == 0
			for _, s := range scenes() {
				t.Run(s.dir, func(t *testing.T) {
					switch {
					case strings.Contains(s.only, "services") && !services:
						t.Skip("needs build/services.tar: internal/needs/install.sh makes it")
					case strings.Contains(s.only, "ids") && !ids:
						t.Skip("needs several IDs: newuidmap, /etc/subuid")
					case strings.Contains(s.only, "calls") && lacksCalls():
						t.Skip("missing feature: getrandom and prlimit64, which the programs of Debian 12 want (Linux 3.17)")
					case strings.Contains(s.only, "no_new_privs"):
						probetest.Need(t, probe.NoNewPrivs)
					case strings.Contains(s.only, "joins"):
						probetest.Need(t, probe.NSPIDSetns)
					}
					n := *m
					n.t = t
					n.play(s)
				})
			}
		})
	}
}

// lacksCalls: OpenSSL finds no random numbers then, and nginx does not start.
func lacksCalls() bool {
	_, err := unix.Getrandom(make([]byte, 1), 0)
	return errors.Is(err, unix.ENOSYS)
}

// play brings a scene up, twice, and down.
func (m *machine) play(s scene) {
	t := m.t
	t.Helper()
	dir := filepath.Join(m.dir, "files", s.dir)
	if out, err := exec.Command("sh", "-c", "mkdir -p '"+filepath.Dir(dir)+"' && rm -rf '"+dir+"' && cp -r 'testdata/compose/"+s.dir+"' '"+dir+"' && chmod -R a+rX '"+m.dir+"/files'").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := &played{machine: m, scene: s}
	p.file = []string{"compose", "--progress", "plain", "-p", "e2e-" + s.dir, "-f", dir + "/compose.yaml"}
	if over := dir + "/compose.override.yaml"; exists(over) {
		p.file = append(p.file, "-f", over)
	}
	defer func() {
		m.ok(p.compose("down", "-v", "--remove-orphans", "-t", "2")...)
		if out := m.ok("ps", "-aq"); out != "" {
			t.Errorf("containers are left: %s", out)
		}
	}()
	m.ok(p.compose(append([]string{"up", "-d"}, s.args...)...)...)
	p.look()
	for service, text := range s.logs {
		for _, want := range strings.Split(text, "|") {
			until(t, service+" says "+want, func() bool {
				return strings.Contains(m.try(p.compose("logs", "--no-log-prefix", service)...).out, want)
			})
		}
	}
	ids := m.ok(p.compose("ps", "-aq")...)
	m.ok(p.compose(append([]string{"up", "-d"}, s.args...)...)...)
	if again := m.ok(p.compose("ps", "-aq")...); again != ids {
		t.Errorf("up once more made other containers:\n%s\n%s", ids, again)
	}
	if s.then != nil {
		s.then(p)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shown are the project's containers as `compose ps` shows them, by name.
func (p *played) shown() map[string]string {
	got := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(p.ok(p.compose("ps", "-a", "--format", "json")...)))
	for lines.Scan() {
		var row struct {
			Name, State string
			ExitCode    int
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			p.t.Fatalf("%v: %s", err, lines.Text())
		}
		state := row.State
		if state == "exited" {
			state += " " + string(rune('0'+row.ExitCode))
		}
		got[strings.TrimPrefix(row.Name, "e2e-"+p.scene.dir+"-")] = state
	}
	return got
}

// look waits until the containers are in the scene's states.
func (p *played) look() {
	p.t.Helper()
	var got map[string]string
	until(p.t, "the states of "+p.scene.dir, func() bool {
		got = p.shown()
		if len(got) != len(p.states) {
			p.t.Fatalf("containers %v, want %v", got, p.states)
		}
		for name, want := range p.states {
			if got[name] != want {
				return false
			}
		}
		return true
	})
}

// restartedAlone: what it depends on is not restarted.
func restartedAlone(p *played) {
	before := p.ok("inspect", "-f", "{{.State.StartedAt}}", "e2e-health-db-1")
	p.ok(p.compose("restart", "web")...)
	p.look()
	if after := p.ok("inspect", "-f", "{{.State.StartedAt}}", "e2e-health-db-1"); after != before {
		p.t.Errorf("db was started at %s, then %s", before, after)
	}
}

// plainAgain goes through what is done with a project that runs.
func plainAgain(p *played) {
	t := p.t
	p.is("app\ndb\nfront", p.compose("config", "--services")...)
	p.is("app hello", p.compose("exec", "-T", "app", "sh", "-c", "echo app $GREETING")...)
	p.fails(3, "", p.compose("exec", "-T", "app", "sh", "-c", "exit 3")...)
	p.is("one-off", p.compose("run", "--rm", "-T", "--no-deps", "app", "echo", "one-off")...)
	p.fails(1, "no such service: nobody", p.compose("up", "-d", "nobody")...)
	ids := p.ok(p.compose("ps", "-aq")...)
	p.ok(p.compose("stop", "front")...)
	p.states["front-1"] = "exited 0"
	p.look()
	p.ok(p.compose("start", "front")...)
	p.states["front-1"] = "running"
	p.look()
	p.ok(p.compose("restart", "-t", "2")...)
	p.look()
	// One alone, while what it depends on runs on.
	p.ok(p.compose("restart", "-t", "2", "front")...)
	p.look()
	if out := p.ok(p.compose("images")...); !strings.HasPrefix(out, "CONTAINER") || !strings.Contains(out, "e2e-plain-app-1") {
		t.Errorf("images:\n%s", out)
	}
	if again := p.ok(p.compose("ps", "-aq")...); again != ids {
		t.Errorf("other containers after restart:\n%s\n%s", ids, again)
	}
	// A change of one service makes one container anew.
	p.extra = append(p.extra, "GREETING=ahoy")
	plan := p.ok(p.compose("up", "--dry-run")...)
	if !strings.Contains(plan, "recreate  container e2e-plain-app-1 (its configuration changed)") || strings.Contains(plan, "recreate  container e2e-plain-db") {
		t.Errorf("plan:\n%s", plan)
	}
	p.ok(p.compose("up", "-d", "-t", "2")...)
	p.look()
	until(t, "the new app", func() bool { return strings.Contains(p.try(p.compose("logs", "app")...).out, "app-1  | app ahoy") })
	p.ok(p.compose("kill")...)
	p.ok(p.compose("rm", "-f")...)
	p.is("", p.compose("ps", "-aq")...)
}

func scaledDown(p *played) {
	p.ok(p.compose("scale", "worker=2")...)
	for _, n := range []string{"3", "4", "5"} {
		delete(p.states, "worker-"+n)
	}
	p.look()
	p.ok(p.compose("up", "-d", "--scale", "worker=4")...)
	p.states["worker-3"], p.states["worker-4"] = "running", "running"
	p.look()
}

func profilesOn(p *played) {
	p.file = append(p.file[:1:1], append([]string{"--profile", "debug"}, p.file[1:]...)...)
	p.ok(p.compose("up", "-d")...)
	p.states["debug-1"] = "running"
	p.look()
}

func overridden(p *played) {
	p.is("development 1", p.compose("exec", "-T", "app", "sh", "-c", "echo $MODE $KEEP")...)
	if r := p.try(p.compose("exec", "-T", "app", "ls", "/host-tmp")...); r.code == 0 {
		p.t.Error("the volume that was reset is there")
	}
}

// volumesStay: down keeps what is named, and what replaces a container takes its
// anonymous volumes over.
func volumesStay(p *played) {
	p.ok(p.compose("exec", "-T", "db", "sh", "-c", "echo kept > /anonymous/file")...)
	p.ok(p.compose("up", "-d", "--force-recreate")...)
	until(p.t, "the second boot", func() bool { return strings.Contains(p.try(p.compose("logs", "db")...).out, "2") })
	p.is("kept", p.compose("exec", "-T", "db", "cat", "/anonymous/file")...)
	p.ok(p.compose("down")...)
	p.ok(p.compose("up", "-d")...)
	until(p.t, "the third boot", func() bool { return strings.Contains(p.try(p.compose("logs", "db")...).out, "3") })
	if out := p.ok("volume", "ls", "-q", "--filter", "label="+model.LabelProject+"=e2e-volumes"); out != "e2e-volumes_store" {
		p.t.Errorf("volumes %q", out)
	}
}

func hooksRan(p *played) {
	p.is("started hook", p.compose("exec", "-T", "app", "cat", "/log/hooks")...)
	p.ok(p.compose("stop")...)
	p.ok(p.compose("start")...)
	p.is("started hook\nstopping\nstarted hook", p.compose("exec", "-T", "app", "cat", "/log/hooks")...)
}

// rolledOn: a new revision comes two at a time; one that fails is rolled back.
func rolledOn(p *played) {
	ids := strings.Fields(p.ok(p.compose("ps", "-aq")...))
	p.extra = append(p.extra, "REVISION=2")
	p.ok(p.compose("up", "-d")...)
	p.look()
	now := strings.Fields(p.ok(p.compose("ps", "-aq")...))
	for _, id := range now {
		if slices.Contains(ids, id) {
			p.t.Errorf("container %s was not replaced", id)
		}
	}
	sort.Strings(now)
	p.extra = append(p.extra, "REVISION=$$(exit; exit 1); exit 1")
	p.fails(1, "update of service web", p.compose("up", "-d")...)
	p.look()
	// What was rolled back writes when its program has come to it.
	until(p.t, "the old revision runs on", func() bool { return strings.Count(p.ok(p.compose("logs", "--no-log-prefix")...), "2") == 4 })
}

// isolated: who shares a network finds the other by name, and nobody else does.
func isolated(p *played) {
	for _, tc := range []struct {
		from, to string
		found    bool
	}{{"proxy", "service.example", true}, {"app", "db", true}, {"proxy", "db", false}, {"db", "proxy", false}} {
		r := p.try(p.compose("exec", "-T", tc.from, "grep", "-w", tc.to, "/etc/hosts")...)
		if r.code > 1 || (r.code == 0) != tc.found {
			p.t.Errorf("%s finds %s: want %t: exit %d: %s%s", tc.from, tc.to, tc.found, r.code, r.out, r.err)
		}
	}
}

// included: a part of the project has its own directory, variables and override.
func included(p *played) {
	p.is("'kept quotes' large", p.compose("exec", "-T", "db", "sh", "-c", "echo $RAW $SIZE")...)
	p.is("yes", "inspect", "-f", `{{index .Config.Labels "tuned"}}`, "e2e-include-db-1")
	if r := p.try(p.compose("ps", "--format", "{{.Name}}")...); strings.Contains(r.out, "metrics") {
		p.t.Errorf("a service of a profile that is off: %s", r.out)
	}
}

// stacked: what people's files have besides.
func stacked(p *played) {
	p.is("t0ken", p.compose("exec", "-T", "main", "cat", "/run/secrets/token")...)
	p.is("1|2|1m|2", "inspect", "-f", `{{index .Config.Labels "direct"}}|{{index .Config.Labels "from.file"}}|{{index .HostConfig.LogConfig.Config "max-size"}}|{{index .HostConfig.LogConfig.Config "max-file"}}`, "e2e-stack-main-1")
	p.ok(p.compose("exec", "-T", "main", "sh", "-c", "echo seen > /shared/file")...)
	p.is("seen", p.compose("exec", "-T", "beside", "cat", "/shared/file")...)
	if hosts := p.ok(p.compose("exec", "-T", "main", "cat", "/etc/hosts")...); !strings.Contains(hosts, "192.0.2.1\tgateway.example") || !strings.Contains(hosts, "2001:db8::1\tsix.example") {
		p.t.Errorf("hosts: %s", hosts)
	}
}

// takenBack: what an override resets is not there.
func takenBack(p *played) {
	p.is("|3|map[]|0|[]", "inspect", "-f", `{{index .Config.Labels "one"}}|{{index .Config.Labels "three"}}|{{.HostConfig.PortBindings}}|{{len .Mounts}}|{{.HostConfig.CapAdd}}`, "e2e-tagged-app-1")
	p.is("app", p.compose("config", "--services")...)
}

// balanced: the proxy reaches every replica by their service's name.
func balanced(p *played) {
	seen := map[string]bool{}
	until(p.t, "answers of three replicas through nginx", func() bool {
		if r := p.try(p.compose("exec", "-T", "backend", "wget", "-q", "-O", "-", "http://proxy:18301/")...); r.code == 0 {
			seen[strings.TrimSpace(r.out)] = true
		}
		return len(seen) == 3
	})
	p.is("127.0.0.1:18301", p.compose("port", "proxy", "18301")...)
}
