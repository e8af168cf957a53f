package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const answering = `
services:
  db:
    image: box
    command: [sleep, "1000"]
    stop_signal: KILL
    healthcheck: {test: [CMD, "true"], interval: 1s}
    depends_on: {}
  web:
    image: box
    command: [sh, -c, "echo hello; exec sleep 1000"]
    stop_signal: KILL
    depends_on: {db: {condition: service_healthy, restart: true}}
    scale: 2
  job: {image: box, command: [sh, -c, "exit 3"], profiles: [once]}
`

// TestComposeAnswers: what docker compose 2.40 answered to the same words: exit
// codes, texts, columns.
func TestComposeAnswers(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	file := filepath.Join(m.dir, "compose.yaml")
	if err := os.WriteFile(file, []byte(answering), 0o644); err != nil {
		t.Fatal(err)
	}
	byFile := []string{"compose", "--progress", "quiet", "-p", "answers", "-f", file}
	byName := []string{"compose", "--progress", "quiet", "-p", "answers"}
	t.Cleanup(func() { m.try(append(byFile, "down", "-v", "-t", "0")...) })
	m.ok(append(byFile, "up", "-d")...)
	for _, tc := range []struct {
		by   []string
		line string
		code int
		want string // contained in the output and the errors
	}{
		{byName, `ps --format {{.Name}}={{.Health}}= db`, 0, "answers-db-1=healthy="},
		{byName, "ps nobody", 0, "NAME      IMAGE"},
		{byFile, "ps nobody", 1, "no such service: nobody"},
		{byName, "logs nobody", 0, ""},
		{byName, "logs --index 1 web", 0, "web-1  | hello"},
		{byName, "stop nobody", 0, ""},
		{byName, "restart nobody", 1, "no such service: nobody"},
		{byName, "kill nobody", 0, "no container to kill"},
		{byName, "rm -f nobody", 0, "No stopped containers"},
		{byName, "exec -T nobody true", 1, `service "nobody" is not running`},
		{byName, "wait nobody", 1, `no containers for project "answers"`},
		{byName, "cp " + file + " nobody:/x", 1, `no container found for service "nobody"`},
		{byName, "ls", 0, "NAME                STATUS              CONFIG FILES\nanswers             running(3)          " + file},
		{byFile, "images -q", 0, ""},
		{byFile, "run --rm -T nobody true", 1, "no such service: nobody"},
		{byFile, "up --nosuchflag", 1, "unknown flag: --nosuchflag"},
		{byFile, "up -d --scale web", 1, `invalid --scale option "web". Should be SERVICE=NUM`},
		{byFile, "up -d --attach web", 1, "--detach cannot be combined with"},
		{byFile, "up -d -V --no-recreate", 1, "--no-recreate and --renew-anon-volumes are incompatible"},
		{byFile, "up --exit-code-from nobody", 1, "no such service: nobody: not found"},
		{byFile, "up --attach nobody", 1, "cannot attach to services not included in up: nobody"},
		{byFile, "up -d --build", 0, ""},
		{byFile, "--profile once up --menu=false --no-attach web --exit-code-from job", 3, "Attaching to db-1, job-1\n"},
	} {
		r := m.try(append(tc.by[:len(tc.by):len(tc.by)], strings.Fields(tc.line)...)...)
		if out := r.out + r.err; r.code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", tc.line, r.code, tc.code, tc.want, out)
		}
	}
	// Docker has a paused container be unhealthy until its next check: who restarts
	// what depends on it does not wait for that.
	m.ok(append(byFile, "up", "-d")...)
	m.ok(append(byName, "pause", "db")...)
	m.ok(append(byName, "unpause", "db")...)
	m.ok(append(byName, "restart", "web")...)
	// -V makes containers anew that have no volume, too.
	before := m.ok(append(byFile, "ps", "-q", "db")...)
	m.ok(append(byFile, "up", "-d", "-V")...)
	if after := m.ok(append(byFile, "ps", "-q", "db")...); after == before {
		t.Errorf("up -V kept %s", before)
	}
}
