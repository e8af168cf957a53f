package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// lifeRungs are those that tend or enter a container in another way each.
func lifeRungs() []rung {
	return []rung{
		{name: "namespaces", backend: "isolation=namespaces"},
		{name: "no cgroups", backend: "isolation=namespaces,limits=rlimits"},
		{name: "user", backend: "isolation=userns", uid: ordinary},
		{name: "chroot", backend: "isolation=chroot,rootfs=copy,limits=rlimits"},
		{name: "agent", backend: "isolation=namespaces,entering=agent"},
	}
}

// TestLife does to one container, by the command line, all that is done to one, on
// each rung that does it in another way.
func TestLife(t *testing.T) {
	needRoot(t)
	for _, r := range lifeRungs() {
		t.Run(r.name, func(t *testing.T) { tended(newMachine(t, "", r.backend, r.uid)) })
	}
}

func tended(m *machine) {
	t := m.t
	t.Helper()
	m.ok("run", "-d", "--name", "one", net, "--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "1",
		"--label", "tier=front", "box", "sh", "-c", `trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done`)
	until(t, "it is up", func() bool { return m.try("logs", "one").out == "up\n" })
	until(t, "it is unhealthy", func() bool { return strings.HasSuffix(m.ok("ps", "--format", "{{.Status}}"), "(unhealthy)") })
	m.ok("exec", "one", "touch", "/tmp/well")
	until(t, "it is healthy", func() bool { return m.ok("ps", "-q", "--filter", "health=healthy") != "" })
	if out := m.ok("top", "one"); !strings.HasPrefix(out, "UID  ") || !strings.Contains(out, "trap") {
		t.Errorf("top: %q", out)
	}
	out := m.ok("stats", "--no-stream", "--format", "json", "one")
	var figures map[string]string
	if err := json.Unmarshal([]byte(out), &figures); err != nil || figures["Name"] != "one" || figures["PIDs"] == "0" || strings.HasPrefix(figures["MemUsage"], "0B") {
		t.Errorf("stats: %v %q", err, out)
	}
	m.is("one", "pause", "one")
	m.fails(1, "is already paused", "container", "pause", "one")
	m.fails(1, "is paused, unpause the container before exec", "exec", "one", "true")
	if out := m.ok("ps", "--format", "{{.Status}}"); !strings.HasSuffix(out, "(Paused)") {
		t.Errorf("ps of a paused one: %q", out)
	}
	m.is("one", "unpause", "one")
	m.fails(1, "is not paused", "unpause", "one")
	pid := m.ok("inspect", "-f", "{{.State.Pid}}", "one")
	m.is("one", "restart", "one")
	if again := m.ok("inspect", "-f", "{{.State.Pid}} {{.State.Status}}", "one"); again == pid+" running" || !strings.HasSuffix(again, " running") {
		t.Errorf("restart: %s, was %s", again, pid)
	}
	m.is("", "rename", "one", "two")
	m.fails(1, "No such container: one", "inspect", "--type", "container", "one")
	m.is("two", "update", "--restart", "on-failure:2", "two")
	m.is("on-failure 2", "inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}", "two")
	m.fails(1, "you must provide one or more flags", "update", "two")
	m.fails(1, "Minimum memory limit allowed is 6MB", "update", "-m", "1k", "two")
	m.is("two", "kill", "two")
	m.is("exited 137 0", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "two")
	m.is("", "port", "two")
	m.fails(1, "No public port '80' published for two", "port", "two", "80")

	actions := strings.Fields(m.ok("events", "--since", "10m", "--until", "0s", "--filter", "container=two", "--filter", "label=tier=front", "--format", "{{.Action}}"))
	for _, want := range []string{"rename", "update", "kill", "die"} {
		if !strings.Contains(" "+strings.Join(actions, " ")+" ", " "+want+" ") {
			t.Errorf("events: %q lack %s", actions, want)
		}
	}
	// A policy given at the start, and a failure that lasts.
	began := time.Now()
	m.ok("run", "-d", "--name", "fails", net, "--restart", "on-failure:2", "box", "false")
	until(t, "it is given up", func() bool { return m.ok("inspect", "-f", "{{.State.Status}}", "fails") == "exited" })
	if n := m.ok("inspect", "-f", "{{.RestartCount}}", "fails"); n != "2" || time.Since(began) < 300*time.Millisecond {
		t.Errorf("%s restarts in %v", n, time.Since(began))
	}
	// In the foreground the last run's end is the end.
	m.fails(1, "", "run", "--name", "here", net, "--restart", "on-failure:1", "box", "false")
	m.is("1", "inspect", "-f", "{{.RestartCount}}", "here")
	if out := m.ok("container", "prune", "-f", "--filter", "label!=tier"); !strings.HasPrefix(out, "Deleted Containers:\n") {
		t.Errorf("prune: %q", out)
	}
	m.is("two", "ps", "-a", "--format", "{{.Names}}")
	m.is("", "boot")
}

// TestEvents: what is done to images and volumes is told in Docker's words.
func TestEvents(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "", 0)
	m.ok("pull", "-q", "box")
	m.ok("tag", "box", "other:1")
	m.ok("rmi", "other:1")
	m.ok("volume", "create", "some")
	m.ok("volume", "create", "some")
	m.ok("volume", "rm", "some")
	m.ok("run", "--rm", "--name", "gone", net, "box", "true")
	want := strings.Join([]string{
		"image pull", "image tag", "image untag", "volume create", "volume destroy",
		"container create", "container attach", "container start", "container die", "container destroy",
	}, "\n")
	m.is(want, "events", "--since", "10m", "--until", "0s", "--format", "{{.Type}} {{.Action}}", "--filter", "type=image", "--filter", "type=volume", "--filter", "type=container")
	m.ok("create", "--name", "files", net, "box", "true")
	m.ok("cp", "files:/etc/passwd", m.dir+"/passwd")
	m.ok("cp", m.dir+"/passwd", "files:/tmp")
	m.ok("export", "-o", m.dir+"/files.tar", "files")
	id := m.ok("commit", "-m", "why", "files", "made:1")
	m.ok("rm", "files")
	m.is("create\narchive-path\nextract-to-dir\nexport\ncommit why "+id+" made:1\ndestroy", "events", "--since", "10m", "--until", "0s", "--filter", "container=files",
		"--format", `{{.Action}}{{with .Actor.Attributes.imageID}} {{$.Actor.Attributes.comment}} {{.}} {{$.Actor.Attributes.imageRef}}{{end}}`)
	m.ok("rmi", "made:1")
	m.ok("run", "--rm", "--name", "keeps", "-v", "store:/store:ro", net, "box", "true")
	m.is("create\nmount /store local false\nunmount", "events", "--since", "10m", "--until", "0s", "--filter", "volume=store", "--format",
		`{{.Action}}{{with .Actor.Attributes.destination}} {{.}} {{index $.Actor.Attributes "driver"}} {{index $.Actor.Attributes "read/write"}}{{end}}`)
	m.ok("run", "--rm", "--name", "drops", "-v", "/anonymous", net, "box", "true")
	m.is("create\nmount\nunmount\ndestroy", "events", "--since", "10m", "--until", "0s", "--filter", "volume="+m.ok("events", "--since", "10m", "--until", "0s",
		"--filter", "type=volume", "--filter", "event=destroy", "--format", "{{.Actor.ID}}")[len("some\n"):], "--format", "{{.Action}}")
	m.ok("network", "create", "yard")
	m.ok("run", "--rm", "--name", "on", "--network", "yard", "box", "true")
	m.ok("network", "rm", "yard")
	m.is("create yard\nconnect yard\ndisconnect yard\ndestroy yard", "events", "--since", "10m", "--until", "0s",
		"--format", "{{.Action}} {{.Actor.Attributes.name}}", "--filter", "type=network")
	out := m.ok("events", "--since", "10m", "--until", "0s", "--format", "json", "--filter", "event=die", "--filter", "container=gone")
	var die map[string]any
	if err := json.Unmarshal([]byte(out), &die); err != nil {
		t.Fatal(err, out)
	}
	for _, key := range []string{"status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano"} {
		if _, ok := die[key]; !ok {
			t.Errorf("%s lacks %s", out, key)
		}
	}
	attributes := die["Actor"].(map[string]any)["Attributes"].(map[string]any)
	if attributes["exitCode"] != "0" || attributes["execDuration"] != "0" || attributes["image"] != "box" || attributes["name"] != "gone" {
		t.Errorf("%v", attributes)
	}
	m.is("a0", "events", "--since", "10m", "--until", "0s", "--filter", "event=die", "--filter", "container=gone", "--format", "a{{.Actor.Attributes.exitCode}}")
	m.fails(1, `failed to parse value as time or duration: "xx"`, "events", "--since", "xx")
	m.fails(1, "invalid filter 'colour'", "events", "--until", "0s", "--filter", "colour=red")
	m.fails(64, "Error parsing format", "events", "--format", "{{")
}
