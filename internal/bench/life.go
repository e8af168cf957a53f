package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// crowd is how many containers run while life is measured.
const crowd = 200

// life measures what is done to containers that run: exec beside Docker's, ps of
// a crowd and stop by their budgets, and the memory of the crowd's monitors.
func (b *bench) life() error {
	tools := map[string]string{"coracle": b.coracle}
	if b.peers["docker"] {
		tools["docker"] = "docker"
	}
	commands := map[string][]string{}
	for name, tool := range tools {
		if _, err := sh(tool, "run", "-d", "--name", "bench-exec", "--network", "none", "debian", "sleep", "600"); err != nil {
			return err
		}
		defer sh(tool, "rm", "-f", "bench-exec")
		commands[name] = []string{tool, "exec", "bench-exec", "true"}
	}
	mid, err := b.median(b.rounds, commands)
	if err != nil {
		return err
	}
	b.compare("exec NAME true", mid)
	if err := b.stops(); err != nil {
		return err
	}
	return b.crowd()
}

// stops measures what stop adds to the program's own time to end.
func (b *bench) stops() error {
	var whole, added []time.Duration
	for range b.rounds {
		id, err := sh(b.coracle, "run", "-d", "--init", "--network", "none", "debian", "sleep", "600")
		if err != nil {
			return err
		}
		pid, err := sh(b.coracle, "inspect", "-f", "{{.State.Pid}}", id)
		if err != nil {
			return err
		}
		gone := make(chan time.Time)
		go func() {
			for !ended(pid) {
				time.Sleep(200 * time.Microsecond)
			}
			gone <- time.Now()
		}()
		began := time.Now()
		if _, err := sh(b.coracle, "stop", id); err != nil {
			return err
		}
		end := time.Now()
		whole, added = append(whole, end.Sub(began)), append(added, end.Sub(<-gone))
		if _, err := sh(b.coracle, "rm", id); err != nil {
			return err
		}
	}
	b.budget("stop of a program that obeys TERM, beyond its own end", middle(added), 20*time.Millisecond)
	b.rows = append(b.rows, row{what: "the same, all of it", ours: ms(middle(whole))})
	return nil
}

// ended tells whether a process is no more than a zombie.
func ended(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func (b *bench) budget(what string, got, limit time.Duration) {
	b.rows = append(b.rows, row{what, ms(got), "budget", ms(limit), fmt.Sprintf("%.2f", float64(got)/float64(limit))})
}

// crowd measures ps of many containers, and their monitors.
func (b *bench) crowd() error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	var failed error
	slots := make(chan struct{}, 8)
	for range crowd {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			id, err := sh(b.coracle, "run", "-d", "--network", "none", "debian", "sleep", "600")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			ids = append(ids, id)
		})
	}
	wg.Wait()
	defer func() { sh(b.coracle, append([]string{"rm", "-f"}, ids...)...) }()
	if failed != nil {
		return failed
	}
	time.Sleep(2 * time.Second) // what the starts set going
	out, err := exec.Command(b.coracle, "ps", "-q").Output()
	if err != nil {
		return err
	}
	if n := len(strings.Fields(string(out))); n < crowd {
		return fmt.Errorf("%d of %d run", n, crowd)
	}
	mid, err := b.median(b.rounds, map[string][]string{"coracle": {b.coracle, "ps"}})
	if err != nil {
		return err
	}
	b.budget(fmt.Sprintf("ps of %d running containers", crowd), mid["coracle"], 30*time.Millisecond)
	pids, err := sh(b.coracle, append([]string{"inspect", "-f", "{{.State.Pid}}"}, ids...)...)
	if err != nil {
		return err
	}
	var monitors []string
	for _, pid := range strings.Fields(pids) {
		monitors = append(monitors, parent(pid))
	}
	if err := rest(b, monitors); err != nil {
		return err
	}
	most := 0
	for _, m := range monitors {
		kb, err := private(m)
		if err != nil {
			return err
		}
		most = max(most, kb)
	}
	b.rows = append(b.rows, row{fmt.Sprintf("the largest of %d monitors (private dirty)", crowd), fmt.Sprintf("%.1f MB", float64(most)/1e3), "budget", "6 MB", fmt.Sprintf("%.2f", float64(most)/6e3)})
	return nil
}

// rest measures how often monitors wake up that have nothing to do. Go's runtime
// looks around once more in the minute after the last that it did.
func rest(b *bench, monitors []string) error {
	const settle, watch = 61 * time.Second, 10 * time.Second
	time.Sleep(settle)
	before, err := sleeps(monitors)
	if err != nil {
		return err
	}
	time.Sleep(watch)
	after, err := sleeps(monitors)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, row{
		what: fmt.Sprintf("wake-ups a second of %d monitors at rest", len(monitors)), ours: fmt.Sprintf("%.1f", float64(after-before)/watch.Seconds()),
		peer: "budget", theirs: "0",
	})
	return nil
}

// sleeps counts how often the threads of processes went to sleep by themselves:
// each waking is followed by one.
func sleeps(pids []string) (sum int, err error) {
	for _, pid := range pids {
		files, _ := filepath.Glob("/proc/" + pid + "/task/*/status")
		if len(files) == 0 {
			return 0, fmt.Errorf("there is no process %s", pid)
		}
		for _, f := range files {
			data, _ := os.ReadFile(f)
			for line := range strings.SplitSeq(string(data), "\n") {
				if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
					n, _ := strconv.Atoi(strings.TrimSpace(v))
					sum += n
				}
			}
		}
	}
	return sum, nil
}
