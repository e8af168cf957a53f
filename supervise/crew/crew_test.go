package crew

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tale is what a crew did, in order.
type tale struct {
	mu    sync.Mutex
	lines []string
}

func (t *tale) say(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
}

func (t *tale) told() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, " ")
}

// words says each line that a member writes.
type words struct {
	t    *tale
	name string
}

func (w words) Write(p []byte) (int, error) {
	for _, line := range strings.Fields(string(p)) {
		w.t.say(w.name + ":" + line)
	}
	return len(p), nil
}
func (w words) Close() error { return nil }

func crewOf(members ...Member) (*Crew, *tale) {
	t := &tale{}
	return &Crew{
		Path: "/bin/sh", Members: members,
		Output: func(name string) io.WriteCloser { return words{t, name} },
		Ready:  func() { t.say("ready") },
		Ended:  func(name string, code int) { t.say(fmt.Sprintf("%s=%d", name, code)) },
	}, t
}

// stays is a member that is ready at once and ends when it is asked to.
func stays(name string, needs ...string) Member {
	return Member{Name: name, Needs: needs, Args: []string{"-c", `trap "echo bye; exit 0" TERM; echo up; echo >&3; while :; do sleep 0.02; done`}}
}

func TestOrder(t *testing.T) {
	migrate := Member{Name: "migrate", Needs: []string{"db"}, Args: []string{"-c", "sleep 0.1; echo done"}}
	web := stays("web", "db")
	web.Waits = []string{"migrate"}
	c, tale := crewOf(web, migrate, stays("db"))
	signals := make(chan os.Signal, 1)
	c.Ready = func() {
		tale.say("ready")
		signals <- syscall.SIGTERM
	}
	code, err := c.Run(signals)
	want := "db:up migrate:done migrate=0 web:up ready web:bye web=0 db:bye db=0"
	// What it writes comes by another pipe than that it is ready.
	if got := strings.Replace(tale.told(), "ready web:up", "web:up ready", 1); code != 0 || err != nil || got != want {
		t.Errorf("%d %v: %s, want %s", code, err, got, want)
	}
}

// TestFailure: who needs what has failed is not begun, and the others are stopped.
func TestFailure(t *testing.T) {
	for name, bad := range map[string]Member{
		"before it was ready": {Name: "bad", Args: []string{"-c", "sleep 0.1; exit 3"}},
		"killed":              {Name: "bad", Args: []string{"-c", "sleep 0.1; kill -KILL $$"}},
	} {
		c, tale := crewOf(stays("db"), bad, stays("web", "bad"))
		code, err := c.Run(nil)
		if got := tale.told(); err == nil || code == 0 || strings.Contains(got, "web") || strings.Contains(got, "ready") || !strings.HasSuffix(got, "db:bye db=0") {
			t.Errorf("%s: %d %v: %s", name, code, err, got)
		}
	}
	once := stays("web")
	once.Waits = []string{"once"}
	c, tale := crewOf(once, Member{Name: "once", Args: []string{"-c", "exit 4"}})
	if code, err := c.Run(nil); code != 4 || err == nil || tale.told() != "once=4" {
		t.Errorf("%d %v %s", code, err, tale.told())
	}
}

// TestEnds: all end by themselves, and the code is that of the one that failed.
func TestEnds(t *testing.T) {
	c, tale := crewOf(
		Member{Name: "one", Args: []string{"-c", "echo >&3; exit 0"}},
		Member{Name: "two", Args: []string{"-c", "echo >&3; exit 7"}},
	)
	if code, err := c.Run(nil); code != 7 || err != nil {
		t.Errorf("%d %v %s", code, err, tale.told())
	}
}

func TestUnsound(t *testing.T) {
	for _, members := range [][]Member{
		{stays("a", "b"), stays("b", "a")},
		{stays("a", "nobody")},
		{stays("a", "a")},
	} {
		c, tale := crewOf(members...)
		if code, err := c.Run(nil); err == nil || code != 125 || tale.told() != "" {
			t.Errorf("%v: %d %v %s", members, code, err, tale.told())
		}
	}
}

// TestSignals: one that asks for no end is passed on to all.
func TestSignals(t *testing.T) {
	hears := Member{Name: "a", Args: []string{"-c", `trap "echo hup" HUP; trap "exit 0" TERM; echo >&3; while :; do sleep 0.02; done`}}
	c, tale := crewOf(hears)
	signals := make(chan os.Signal, 4)
	c.Ready = func() { signals <- syscall.SIGHUP }
	go func() {
		for !strings.Contains(tale.told(), "a:hup") {
			time.Sleep(5 * time.Millisecond)
		}
		signals <- syscall.SIGINT
	}()
	if code, err := c.Run(signals); code != 0 || err != nil {
		t.Errorf("%d %v %s", code, err, tale.told())
	}
}

// TestKilled: who runs the crew is killed, and every member goes with it.
func TestKilled(t *testing.T) {
	const inside = "CREW_TO_KILL"
	if os.Getenv(inside) != "" {
		c, _ := crewOf(stays("db"), stays("web", "db"))
		c.Ready = func() {
			for _, h := range c.all {
				fmt.Println("member", h.proc.Pid)
			}
			fmt.Println("ready")
		}
		c.Run(nil)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), inside+"=1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		if v, ok := strings.CutPrefix(lines.Text(), "member "); ok {
			n, _ := strconv.Atoi(v)
			pids = append(pids, n)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(pids) != 2 || slices.Contains(pids, 0) {
		t.Fatalf("members %v", pids)
	}
	for _, pid := range pids {
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d lives: %s", pid, stat)
			}
		}
	}
}
