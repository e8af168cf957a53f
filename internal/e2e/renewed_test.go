package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const renewing = `
services:
  app: {image: box, command: [sleep, "1000"], stop_signal: KILL, networks: [back]}
  other: {image: box, command: [sleep, "1000"], stop_signal: KILL}
  keeper: {image: box, command: [sh, -c, "echo old >> /data/f; exec sleep 1000"], stop_signal: KILL, volumes: ["data:/data"]}
networks: {back: {labels: {v: "NETWORK"}}}
volumes: {data: {labels: {v: "VOLUME"}}}
`

// TestRenewed: a network whose definition changed is made anew, and what is on it
// is stopped and started, as docker compose 2.40 does; a volume only after a yes,
// with the containers that have it.
func TestRenewed(t *testing.T) {
	needRoot(t)
	for _, r := range composeRungs() {
		t.Run(r.name, func(t *testing.T) {
			dir := ""
			if r.fs != "" {
				dir = loopFS(t, r.fs, 500)
			}
			m := newMachine(t, dir, r.backend, r.uid)
			file := filepath.Join(m.dir, "compose.yaml")
			compose := func(network, volume string, args ...string) []string {
				text := strings.NewReplacer("NETWORK", network, "VOLUME", volume).Replace(renewing)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return append([]string{"compose", "--progress", "quiet", "-p", "renewed", "-f", file}, args...)
			}
			t.Cleanup(func() { m.try(compose("1", "1", "down", "-v", "-t", "0")...) })
			labels := func(kind, name string) string { return m.ok(kind, "inspect", "-f", "{{.Labels.v}}", "renewed_"+name) }
			began := func(service string) string {
				return m.ok("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", "renewed-"+service+"-1")
			}
			m.ok(compose("1", "1", "up", "-d")...)
			app, other, keeper := began("app"), began("other"), began("keeper")

			if out := m.ok(compose("2", "1", "up", "--dry-run")...); !strings.Contains(out, "recreate  network back (its definition changed)") ||
				!strings.Contains(out, "start     container renewed-app-1 (network renewed_back changed)") {
				t.Errorf("plan:\n%s", out)
			}
			m.ok(compose("2", "1", "up", "-d")...)
			if l := labels("network", "back"); l != "2" {
				t.Errorf("the network has v=%s", l)
			}
			if now := began("app"); now == app || now[:64] != app[:64] {
				t.Errorf("app was %s, is %s", app, now)
			}
			if began("other") != other || began("keeper") != keeper {
				t.Error("what is not on the network was touched")
			}

			// Nobody says yes: the volume stays, and its containers.
			if r := m.try(compose("2", "2", "up", "-d")...); r.code != 0 || !strings.Contains(r.err, `Volume "renewed_data" exists but doesn't match configuration in compose file. Recreate (data will be lost)?`) {
				t.Errorf("exit %d: %s", r.code, r.err)
			}
			if labels("volume", "data") != "1" || began("keeper") != keeper {
				t.Error("the volume was made anew, or its container touched")
			}
			m.ok(compose("2", "2", "up", "-d", "-y")...)
			if l := labels("volume", "data"); l != "2" {
				t.Errorf("the volume has v=%s", l)
			}
			if now := began("keeper"); now[:64] == keeper[:64] || began("other") != other {
				t.Errorf("keeper was %s, is %s", keeper, now)
			}
			until(t, "one line in the new volume", func() bool {
				return strings.TrimSpace(m.try(compose("2", "2", "exec", "-T", "keeper", "cat", "/data/f")...).out) == "old"
			})
			m.is("renewed: nothing to do", compose("2", "2", "up", "--dry-run")...)
		})
	}
	t.Run("of others", func(t *testing.T) {
		m := newMachine(t, "", "isolation=namespaces,wiring=bridge", 0)
		file := filepath.Join(m.dir, "compose.yaml")
		os.WriteFile(file, []byte(renewing), 0o644)
		up := []string{"compose", "--progress", "quiet", "-p", "renewed", "-f", file, "up", "-d"}
		m.ok("network", "create", "renewed_back")
		m.fails(1, `network renewed_back was found but has incorrect label com.docker.compose.network set to "" (expected: "back")`, up...)
		m.ok("network", "rm", "renewed_back")
		m.ok("volume", "create", "renewed_data")
		if r := m.try(up...); r.code != 0 || !strings.Contains(r.err, `volume "renewed_data" already exists but was not created by Docker Compose`) {
			t.Errorf("exit %d: %s", r.code, r.err)
		}
		m.ok("compose", "-p", "renewed", "-f", file, "down", "-v", "-t", "0")
	})
}
