package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// grouped is a machine with a Compose file.
type grouped struct {
	*machine
	file []string
}

// group writes a project's file; up to the end of the test it is taken down.
func (m *machine) group(name, text string) *grouped {
	m.t.Helper()
	path := filepath.Join(m.dir, "files", name+".yaml")
	os.MkdirAll(filepath.Dir(path), 0o755)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	g := &grouped{m, []string{"-p", name, "-f", path}}
	m.t.Cleanup(func() { m.try(g.words("compose", "down", "-v", "-t", "0")...) })
	return g
}

func (g *grouped) words(which string, args ...string) []string {
	return append(append([]string{which, "--progress", "plain"}, g.file...), args...)
}

// states are those of the containers, in order.
func (g *grouped) states() string {
	return strings.Join(strings.Fields(g.try(g.words("compose", "ps", "-a", "--format", "{{.Name}}={{.State}}")...).out), " ")
}

// begun is a command that runs.
type begun struct {
	m      *machine
	kill   func(s os.Signal)
	mu     sync.Mutex
	said   bytes.Buffer
	result chan int
}

func (b *begun) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said.Write(p)
}

func (b *begun) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said.String()
}

func (m *machine) begin(args ...string) *begun {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	b := &begun{m: m, result: make(chan int, 1)}
	cmd := m.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = b, b
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	b.kill = func(s os.Signal) { cmd.Process.Signal(s) }
	go func() {
		defer cancel()
		cmd.Wait()
		b.result <- cmd.ProcessState.ExitCode()
	}()
	return b
}

func (b *begun) says(want string) {
	b.m.t.Helper()
	until(b.m.t, "it says "+want, func() bool { return strings.Contains(b.text(), want) })
}

func (b *begun) ends(code int) {
	b.m.t.Helper()
	select {
	case got := <-b.result:
		if got != code {
			b.m.t.Errorf("exit %d, want %d:\n%s", got, code, b.text())
		}
	case <-time.After(30 * time.Second):
		b.kill(syscall.SIGKILL)
		b.m.t.Fatalf("no end within thirty seconds:\n%s", b.text())
	}
}

// onGroups runs a test where containers have networks, and where all have the
// host's.
func onGroups(t *testing.T, test func(t *testing.T, m *machine)) {
	needRoot(t)
	for _, r := range composeRungs() {
		if r.uid == 0 {
			t.Run(r.name, func(t *testing.T) { test(t, newMachine(t, "", r.backend, 0)) })
		}
	}
}

const stubborn = `
services:
  db: {image: box, command: [sh, -c, "trap '' TERM INT; echo db is there; while :; do sleep 0.1; done"], stop_grace_period: 60s}
  web: {image: box, command: [sh, -c, "trap '' TERM INT; echo web is there; while :; do sleep 0.1; done"], stop_grace_period: 60s, depends_on: [db]}
`

// TestForegroundKilled: who kills `group up` has the containers killed; those of
// `compose up` stay, as with docker compose, and the next command takes them over.
func TestForegroundKilled(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("tied", stubborn)
		b := m.begin(g.words("group", "up")...)
		b.says("web is there")
		b.kill(syscall.SIGKILL)
		b.ends(-1)
		until(t, "the containers are gone", func() bool { return g.states() == "tied-db-1=exited tied-web-1=exited" })
		b = m.begin(g.words("compose", "up")...)
		b.says("web is there")
		ids := m.ok(g.words("compose", "ps", "-q")...)
		b.kill(syscall.SIGKILL)
		b.ends(-1)
		time.Sleep(time.Second)
		if got := g.states(); got != "tied-db-1=running tied-web-1=running" {
			t.Errorf("after compose up was killed: %s", got)
		}
		m.is(ids, g.words("compose", "ps", "-q")...)
		// And one that ends by itself lets go of them.
		b = m.begin(g.words("group", "up", "-d")...)
		b.ends(0)
		m.is(ids, g.words("compose", "ps", "-q")...)
	})
}

// TestInterruptedTwice: the first signal stops, and the second kills.
func TestInterruptedTwice(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("twice", stubborn)
		b := m.begin(g.words("compose", "up")...)
		b.says("web is there")
		b.kill(os.Interrupt)
		b.says("press Ctrl+C again to force")
		time.Sleep(200 * time.Millisecond)
		b.kill(os.Interrupt)
		b.ends(130)
		if got := g.states(); got != "twice-db-1=exited twice-web-1=exited" {
			t.Errorf("%s\n%s", got, b.text())
		}
	})
}

// TestUpAtOnce: of two commands on a project one waits for the other.
func TestUpAtOnce(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("once", `
services:
  slow: {image: box, command: [sh, -c, "sleep 0.5; touch /ready; sleep 1000"], stop_signal: KILL, healthcheck: {test: [CMD, test, -f, /ready], interval: 100ms, retries: 100}}
  web: {image: box, command: [sleep, "1000"], stop_signal: KILL, scale: 3, depends_on: {slow: {condition: service_healthy}}}
`)
		a, b := m.begin(g.words("compose", "up", "-d")...), m.begin(g.words("compose", "up", "-d")...)
		a.ends(0)
		b.ends(0)
		if got := g.states(); got != "once-slow-1=running once-web-1=running once-web-2=running once-web-3=running" {
			t.Error(got)
		}
		if n := strings.Count(a.text()+b.text(), "works on once: waiting for it"); n != 1 {
			t.Errorf("%d waited:\n%s\n%s", n, a.text(), b.text())
		}
	})
}

// TestUpKilled: up, killed at any moment, is finished by the next one.
func TestUpKilled(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		for i := range 6 {
			g := m.group(fmt.Sprintf("killed%d", i), `
services:
  db: {image: box, command: [sleep, "1000"], stop_signal: KILL, volumes: ["store:/v"]}
  web: {image: box, command: [sleep, "1000"], stop_signal: KILL, scale: 3, depends_on: [db]}
volumes: {store: {}}
`)
			b := m.begin(g.words("compose", "up", "-d")...)
			time.Sleep(time.Duration(10+i*40) * time.Millisecond)
			b.kill(syscall.SIGKILL)
			<-b.result
			m.ok(g.words("compose", "up", "-d")...)
			// New replicas are numbered behind those that are there, as docker compose has it.
			got := g.states()
			if !strings.Contains(got, "-db-1=running") || strings.Count(got, "=running") != 4 || strings.Count(got, "=") != 4 {
				t.Errorf("killed after %d ms: %s", 10+i*40, got)
			}
			m.ok(g.words("compose", "down", "-v", "-t", "0")...)
		}
	})
}

// TestNeverHealthy: --wait-timeout is an end, and says in what state things are;
// of what depends on a service that is unhealthy the log's last lines are shown.
func TestNeverHealthy(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("never", `
services:
  db: {image: box, command: [sh, -c, "echo cannot find my files; sleep 1000"], stop_signal: KILL, healthcheck: {test: [CMD, "false"], interval: 100ms, retries: 1000, start_period: 100s}}
`)
		m.fails(1, "application not healthy after 1s: never-db-1 is starting", g.words("compose", "up", "--wait", "--wait-timeout", "1")...)
		g = m.group("gone", `
services:
  job: {image: box, command: [sh, -c, "exit 7"]}
`)
		var r result
		for range 5 { // a machine that is very slow may not have ended it in half a second
			r = m.try(g.words("compose", "up", "-d", "--wait")...)
			if r.code != 0 {
				break
			}
		}
		if r.code != 1 || !strings.Contains(r.err, "container gone-job-1 exited (7)") {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
		g = m.group("sick", `
services:
  db: {image: box, command: [sh, -c, "echo cannot find my files; sleep 1000"], stop_signal: KILL, healthcheck: {test: [CMD, "false"], interval: 100ms, retries: 2}}
  web: {image: box, command: [sleep, "1000"], stop_signal: KILL, depends_on: {db: {condition: service_healthy}}}
`)
		r = m.try(g.words("compose", "up", "-d")...)
		if r.code != 1 || !strings.Contains(r.err, "dependency failed to start: container sick-db-1 is unhealthy") || !strings.Contains(r.err, "last lines of sick-db-1:\n  cannot find my files\n") {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
	})
}

// TestPortsPlanned: what cannot be had is said before anything starts.
func TestPortsPlanned(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("within", `
services:
  a: {image: box, command: [sleep, "1000"], stop_signal: KILL, ports: ["127.0.0.1:18441:80"]}
  b: {image: box, command: [sleep, "1000"], stop_signal: KILL, ports: ["18441:81"], depends_on: [a]}
`)
		m.fails(1, `service "a" and service "b" both publish port 18441/tcp`, g.words("compose", "up", "-d")...)
		if got := g.states(); got != "" {
			t.Errorf("there are %s", got)
		}
		one := m.group("one", "services:\n  a: {image: box, command: [sleep, '1000'], stop_signal: KILL, ports: ['127.0.0.1:18442:18442']}\n")
		m.ok(one.words("compose", "up", "-d")...)
		two := m.group("two", "services:\n  db: {image: box, command: [sleep, '1000'], stop_signal: KILL}\n  a: {image: box, command: [sleep, '1000'], stop_signal: KILL, ports: ['18442:18442'], depends_on: [db]}\n")
		m.fails(1, `service "a" publishes port 18442/tcp, which container one-a-1 of project one has`, two.words("compose", "up", "-d")...)
		if got := two.states(); got != "" {
			t.Errorf("there are %s", got)
		}
		// Its own ports are in nobody's way.
		m.ok(one.words("compose", "up", "-d", "--force-recreate")...)
		m.ok(one.words("compose", "down", "-t", "0")...)
		m.ok(two.words("compose", "up", "-d")...)
		if strings.Contains(m.backend, "hostports") {
			m.fails(1, "and without network namespaces all containers have the host's network",
				m.group("shared", "services:\n  a: {image: box, expose: ['9000']}\n  b: {image: box, ports: ['9001:9000']}\n").words("compose", "up", "-d")...)
		}
	})
}

// TestComposeForPrograms: what a script feeds in and reads back, without a
// terminal; what kill takes; what a command that there is not says.
func TestComposeForPrograms(t *testing.T) {
	onGroups(t, func(t *testing.T, m *machine) {
		g := m.group("prog", `
services:
  a: {image: box, command: [sleep, "1000"], stop_signal: KILL}
  old: {image: box, command: [sleep, "1000"], stop_signal: KILL}
`)
		words := g.words("compose", "up", "-d")
		words[2] = "json"
		r := m.try(words...)
		seen := map[string]bool{}
		for line := range strings.Lines(r.err) {
			var step struct{ ID, Text, Status string }
			if err := json.Unmarshal([]byte(line), &step); err != nil || r.code != 0 {
				t.Fatalf("exit %d, %v: %s", r.code, err, line)
			}
			seen[step.ID+" "+step.Text+step.Status] = true
		}
		found := false
		for s := range seen {
			found = found || strings.HasPrefix(s, "Container prog-a-1 ") && strings.Contains(s, "Started")
		}
		if !found {
			t.Errorf("no start of prog-a-1 in %s", r.err)
		}
		words = m.group("fails", "services: {a: {image: box, network_mode: 'container:nobody'}}\n").words("compose", "up", "-d")
		words[2] = "json"
		r = m.try(words...)
		lines := strings.Split(strings.TrimSpace(r.err), "\n")
		var last struct {
			Error   bool
			Message string
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || r.code != 1 || !last.Error || !strings.Contains(last.Message, "nobody") {
			t.Errorf("exit %d, %v: %s", r.code, err, r.err)
		}
		if r := m.feed([]byte("two\nwords\n"), g.words("compose", "exec", "-T", "a", "wc", "-w")...); r.code != 0 || strings.TrimSpace(r.out) != "2" {
			t.Errorf("exec -T with input: exit %d: %q %s", r.code, r.out, r.err)
		}
		if r := m.feed([]byte("x\n"), g.words("compose", "exec", "a", "cat")...); r.code != 0 || r.out != "x\n" {
			t.Errorf("exec without a terminal: exit %d: %q %s", r.code, r.out, r.err)
		}
		if r := m.feed([]byte("y\n"), g.words("compose", "run", "--rm", "a", "cat")...); r.code != 0 || r.out != "y\n" {
			t.Errorf("run without a terminal: exit %d: %q %s", r.code, r.out, r.err)
		}
		// old is in the file no more.
		g = &grouped{m, m.group("prog", "services:\n  a: {image: box, command: [sleep, '1000'], stop_signal: KILL}\n").file}
		m.ok(g.words("compose", "kill")...)
		if got := g.states(); got != "prog-a-1=exited prog-old-1=running" {
			t.Errorf("after kill: %s", got)
		}
		m.ok(g.words("compose", "kill", "--remove-orphans")...)
		if got := g.states(); got != "prog-a-1=exited prog-old-1=exited" {
			t.Errorf("after kill --remove-orphans: %s", got)
		}
		m.fails(1, "coracle compose build is not supported: nothing is built", "compose", "build")
		m.fails(1, "flag --watch is not supported: nothing is watched", g.words("compose", "up", "--watch")...)
		m.ok(g.words("compose", "down", "--remove-orphans")...)
	})
}
