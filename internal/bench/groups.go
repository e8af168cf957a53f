package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// replicas is how many containers one service gets.
const replicas = 100

// tenServices is a project of ten services that start in three waves.
func tenServices() string {
	var s strings.Builder
	s.WriteString("services:\n")
	one := func(name, after string) {
		fmt.Fprintf(&s, "  %s: {image: debian, command: [sleep, '600'], stop_signal: KILL, network_mode: none%s}\n", name, after)
	}
	for i := range 2 {
		one(fmt.Sprintf("db%d", i), "")
	}
	for i := range 4 {
		one(fmt.Sprintf("app%d", i), ", depends_on: [db0, db1]")
	}
	for i := range 4 {
		one(fmt.Sprintf("web%d", i), ", depends_on: [app0, app1, app2, app3]")
	}
	return s.String()
}

// groups measures a project's up, up with nothing to do, and down, beside docker
// compose, and a hundred replicas by their budget.
func groups(b *bench) error {
	file := filepath.Join(b.dir, "compose.yaml")
	if err := os.WriteFile(file, []byte(tenServices()), 0o644); err != nil {
		return err
	}
	tools := map[string][]string{"coracle": {b.coracle, "compose"}}
	if plugin := filepath.Join(filepath.Dir(b.tree), "compose", "docker-compose"); b.peers["docker"] {
		if _, err := os.Stat(plugin); err == nil {
			tools["docker compose"] = []string{plugin}
		}
	}
	up, again, down := map[string][]time.Duration{}, map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := -1; i < max(b.rounds/3, 3); i++ {
		for name, tool := range tools {
			for _, step := range []struct {
				to   map[string][]time.Duration
				args []string
			}{{up, []string{"up", "-d"}}, {again, []string{"up", "-d"}}, {down, []string{"down"}}} {
				took, _, err := timed(append(append(append([]string{}, tool...), "--progress", "plain", "-f", file, "-p", "bench"), step.args...))
				if err != nil {
					return err
				}
				if i >= 0 {
					step.to[name] = append(step.to[name], took)
				}
			}
		}
	}
	b.compare("up -d of 10 services in 3 waves", middles(up))
	b.compare("down of them", middles(down))
	b.budget("up -d again, with nothing to do", middles(again)["coracle"], 150*time.Millisecond)
	return replicated(b)
}

// replicated brings a hundred replicas up and down: none is lost, and the
// commands' memory is bounded.
func replicated(b *bench) error {
	file := filepath.Join(b.dir, "replicas.yaml")
	text := fmt.Sprintf("services: {web: {image: debian, command: [sleep, '600'], stop_signal: KILL, network_mode: none, scale: %d}}\n", replicas)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	words := []string{"compose", "--progress", "plain", "-f", file, "-p", "replicas"}
	most := int64(0)
	for _, step := range []struct {
		args []string
		left int
	}{{[]string{"up", "-d"}, replicas}, {[]string{"down"}, 0}} {
		took, kb, err := timed(append(append([]string{b.coracle}, words...), step.args...))
		if err != nil {
			return err
		}
		most = max(most, kb)
		ids, err := sh(b.coracle, "ps", "-q", "--filter", "label=com.docker.compose.project=replicas")
		if err != nil {
			return err
		}
		if n := len(strings.Fields(ids)); n != step.left {
			return fmt.Errorf("after %s %d of %d replicas run", step.args[0], n, step.left)
		}
		b.rows = append(b.rows, row{what: fmt.Sprintf("%s of %d replicas", step.args[0], replicas), ours: ms(took)})
	}
	b.rows = append(b.rows, row{"the command's memory (peak resident)", fmt.Sprintf("%.1f MB", float64(most)/1e3), "budget", "150 MB", fmt.Sprintf("%.2f", float64(most)/150e3)})
	return nil
}
