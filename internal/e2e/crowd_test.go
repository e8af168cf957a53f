package e2e

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestNoneLost: of 200 running containers none is lost, and none comes back, through
// 1,000 random starts, stops, restarts, kills, removals and SIGKILLs of monitors,
// eight at a time; each state told afterwards is that of the processes. The rung
// without namespaces, which makes a tree of each, has fewer of them.
func TestNoneLost(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name, backend   string
		containers, ops int
	}{{"best", "", 200, 1000}, {"last", "isolation=chroot,rootfs=copy,limits=rlimits", 24, 120}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, "", c.backend, 0)
			m.ok("pull", "-q", "box")
			crowd(m, c.containers, c.ops)
		})
	}
}

func crowd(m *machine, containers, ops int) {
	t := m.t
	// No name may be the beginning of an ID, as "c8" is: once that name is gone,
	// `rm -f c8` removes another container, as Docker's does.
	names := make([]string, containers)
	for i := range names {
		names[i] = "n" + strconv.Itoa(i)
	}
	eightAtOnce(names, func(name string) {
		if r := m.aside("run", "-d", "--name", name, net, "--init", "box", "sleep", "100000"); r.code != 0 {
			t.Errorf("run %s: exit %d: %s", name, r.code, r.err)
		}
	})
	if n := len(strings.Fields(m.ok("ps", "-q"))); n != containers {
		t.Fatalf("%d of %d run", n, containers)
	}

	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	type deed struct{ verb, name string }
	deeds := make([]deed, ops)
	for i := range deeds {
		verbs := []string{"start", "start", "stop", "restart", "kill", "kill monitor", "kill monitor"}
		if random.IntN(25) == 0 {
			verbs = []string{"rm"}
		}
		deeds[i] = deed{verbs[random.IntN(len(verbs))], names[random.IntN(len(names))]}
	}
	var mu sync.Mutex
	removed := map[string]bool{}
	kills, over := map[string]int{}, map[string]int{} // of a name's monitor: begun, and ended
	killed := 0
	eightAtOnce(deeds, func(d deed) {
		mu.Lock()
		before := over[d.name]
		if d.verb == "kill monitor" {
			kills[d.name]++
		}
		mu.Unlock()
		var r result
		switch d.verb {
		case "kill monitor":
			dead := killMonitor(m.aside("inspect", "-f", "{{.State.Pid}}", d.name).out)
			mu.Lock()
			defer mu.Unlock()
			over[d.name]++
			if dead {
				killed++
			}
			return
		case "stop", "restart":
			r = m.aside(d.verb, "-t", "1", d.name)
		case "rm":
			// Before it is gone, so that another's failure finds it here.
			mu.Lock()
			removed[d.name] = true
			mu.Unlock()
			r = m.aside("rm", "-f", d.name)
		default:
			r = m.aside(d.verb, d.name)
		}
		mu.Lock()
		gone, attacked := removed[d.name], kills[d.name] > before
		mu.Unlock()
		// What is asked of one that ended, or that another removes, is refused; a start
		// fails where its monitor is killed before it has told that it runs.
		if r.code != 0 && !gone && !(d.verb == "kill" && strings.Contains(r.err, "is not running")) &&
			!(attacked && strings.Contains(r.err, "start monitor: the monitor died")) {
			t.Errorf("%s %s: exit %d: %s", d.verb, d.name, r.code, r.err)
		}
	})
	t.Logf("%d monitors killed", killed)
	if killed == 0 {
		t.Error("no monitor was killed")
	}

	there := map[string]bool{}
	for _, name := range strings.Fields(m.ok("ps", "-a", "--format", "{{.Names}}")) {
		there[name] = true
	}
	for _, name := range names {
		if there[name] == removed[name] {
			t.Errorf("%s: removed %v, there %v", name, removed[name], there[name])
		}
	}
	left := slices.Collect(maps.Keys(there))
	var all []struct {
		Name  string
		State struct {
			Running bool
			Pid     int
		}
	}
	if err := json.Unmarshal([]byte(m.ok(append([]string{"inspect"}, left...)...)), &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		lives := c.State.Pid != 0 && syscall.Kill(c.State.Pid, 0) == nil
		if c.State.Running != lives {
			t.Errorf("%s: running %v, process %d lives %v", c.Name, c.State.Running, c.State.Pid, lives)
		}
	}
	m.ok(append([]string{"rm", "-f"}, left...)...)
	m.is("", "ps", "-aq")
}

// eightAtOnce does f with each of items.
func eightAtOnce[T any](items []T, f func(T)) {
	next := make(chan T)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for item := range next {
				f(item)
			}
		})
	}
	for _, item := range items {
		next <- item
	}
	close(next)
	wg.Wait()
}

// killMonitor kills the parent of a container's first process, and tells whether it did:
// not if one of them has ended meanwhile.
func killMonitor(pid string) bool {
	monitor, err := ppid(strings.TrimSpace(pid))
	if err != nil {
		return false
	}
	// The number may be another's by now.
	line, _ := os.ReadFile("/proc/" + strconv.Itoa(monitor) + "/cmdline")
	return bytes.HasPrefix(line, []byte("coracle-monitor\x00")) && syscall.Kill(monitor, syscall.SIGKILL) == nil
}
